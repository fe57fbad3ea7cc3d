//! Hosts that a source may not name: the agent's own machine, and the addresses where clouds serve credentials.
//!
//! Not allowed here: name resolution. Pure: a name is checked as written. What it resolves to is a matter of the workload
//! cluster's network policies.

use std::net::{Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Why a host is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHost {
    #[error("is an instance metadata or credentials address")]
    Metadata,
    #[error("is a link-local address")]
    LinkLocal,
    #[error("is a loopback address, which inside the agent is the agent itself")]
    Loopback,
    #[error("is not a unicast address")]
    NotUnicast,
    #[error("is an address written in an unusual way; write {0}")]
    Notation(String),
    #[error("is not a host name")]
    Malformed,
}

/// Names that resolve to metadata services inside EC2 and other clouds.
const METADATA_NAMES: [&str; 5] =
    ["instance-data", "instance-data.ec2.internal", "metadata", "metadata.google.internal", "metadata.azure.internal"];

/// Checks a host as written in a URL (IPv6 in brackets). `loopback` allows loopback addresses, for tests.
pub fn check(written: &str, loopback: bool) -> Result<(), InvalidHost> {
    // The WHATWG parser normalizes decimal, octal, hexadecimal and full-width addresses, but only for schemes it knows:
    // every host is parsed in an https URL.
    if written.contains(['/', '?', '#', '@', '\\']) {
        return Err(InvalidHost::Malformed);
    }
    let parsed = Url::parse(&format!("https://{written}/")).map_err(|_| InvalidHost::Malformed)?;
    let parsed_host = match parsed.host() {
        Some(host) if parsed.port().is_none() => host,
        _ => return Err(InvalidHost::Malformed),
    };
    match parsed_host {
        Host::Domain(name) => name_allowed(name, loopback),
        Host::Ipv4(address) if written != address.to_string() => Err(InvalidHost::Notation(address.to_string())),
        Host::Ipv4(address) => v4_allowed(address, loopback),
        Host::Ipv6(address) => v6_allowed(address, loopback),
    }
}

fn name_allowed(name: &str, loopback: bool) -> Result<(), InvalidHost> {
    let name = name.trim_end_matches('.');
    let valid = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if METADATA_NAMES.contains(&name) {
        Err(InvalidHost::Metadata)
    } else if !loopback && (name == "localhost" || name.ends_with(".localhost")) {
        Err(InvalidHost::Loopback)
    } else if name.split('.').all(valid) {
        Ok(())
    } else {
        Err(InvalidHost::Malformed)
    }
}

fn v4_allowed(address: Ipv4Addr, loopback: bool) -> Result<(), InvalidHost> {
    match address.octets() {
        // EC2 and OpenStack, ECS tasks, EKS Pod Identity, Amazon's time and DNS services; Oracle; Alibaba; Azure.
        [169, 254, 169 | 170, _] | [192, 0, 0, 192] | [100, 100, 100, 200] | [168, 63, 129, 16] => {
            Err(InvalidHost::Metadata)
        }
        [169, 254, ..] => Err(InvalidHost::LinkLocal),
        [127, ..] if !loopback => Err(InvalidHost::Loopback),
        [0, ..] | [224..=255, ..] => Err(InvalidHost::NotUnicast),
        _ => Ok(()),
    }
}

fn v6_allowed(address: Ipv6Addr, loopback: bool) -> Result<(), InvalidHost> {
    if let Some(inner) = embedded_v4(address) {
        // IPv4 inside IPv6 has no purpose here but to hide the address.
        return Err(v4_allowed(inner, false).err().unwrap_or_else(|| InvalidHost::Notation(inner.to_string())));
    }
    match address.segments() {
        // EC2's metadata, DNS and time services, and EKS Pod Identity.
        [0xfd00, 0x0ec2, ..] => Err(InvalidHost::Metadata),
        [0xfd20, 0x00ce, ..] => Err(InvalidHost::Metadata), // Google's
        [0xfe80..=0xfebf, ..] => Err(InvalidHost::LinkLocal),
        [0, 0, 0, 0, 0, 0, 0, 1] if !loopback => Err(InvalidHost::Loopback),
        [0, 0, 0, 0, 0, 0, 0, 0] | [0xff00..=0xffff, ..] => Err(InvalidHost::NotUnicast),
        _ => Ok(()),
    }
}

/// The IPv4 address inside an IPv4-mapped, -compatible, -translated, NAT64, 6to4 or ISATAP address.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => v4(high, low),
        [0, 0, 0, 0, 0xffff, 0, high, low] => v4(high, low),
        [0x64, 0xff9b, .., high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => v4(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_hosts_pass() {
        for host in [
            "github.com",
            "git.internal.acme.example",
            "git_server",
            "10.0.0.7",
            "192.168.1.5",
            "[2001:db8::7]",
            "github.com.",
        ] {
            assert_eq!(check(host, false), Ok(()), "{host}");
        }
    }

    #[test]
    fn metadata_addresses_are_rejected_in_every_notation() {
        for host in [
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "100.100.100.200",
            "instance-data",
            "metadata.google.internal",
            "METADATA.google.internal.",
            "[fd00:ec2::254]",
            "[fd00:0ec2:0::23]",
            "[::ffff:169.254.169.254]",
            "[::ffff:a9fe:a9fe]",
            "[::169.254.169.254]",
            "[::ffff:0:a9fe:a9fe]",
            "[64:ff9b::a9fe:a9fe]",
            "[64:ff9b:1::a9fe:a9fe]",
            "[2002:a9fe:a9fe::1]",
            "[2001:db8::5efe:169.254.169.254]",
        ] {
            assert_eq!(check(host, true), Err(InvalidHost::Metadata), "{host}");
        }
    }

    #[test]
    fn unusual_notations_are_rejected_with_the_plain_address() {
        for (host, parsed_host) in [
            ("2852039166", "169.254.169.254"),
            ("0xa9fea9fe", "169.254.169.254"),
            ("0251.0376.0251.0376", "169.254.169.254"),
            ("0xA9.254.169.254", "169.254.169.254"),
            ("169.16689662", "169.254.169.254"),
            ("１６９.254.169.254", "169.254.169.254"),
            ("169.254.169.254.", "169.254.169.254"),
            ("%31%36%39.254.169.254", "169.254.169.254"),
            ("010.0.0.7", "8.0.0.7"),
            ("127.1", "127.0.0.1"),
            ("[::ffff:10.0.0.7]", "10.0.0.7"),
        ] {
            assert_eq!(check(host, true), Err(InvalidHost::Notation(parsed_host.into())), "{host}");
        }
    }

    #[test]
    fn loopback_is_allowed_for_tests_only() {
        for host in ["127.0.0.1", "localhost", "git.localhost", "[::1]"] {
            assert_eq!(check(host, false), Err(InvalidHost::Loopback), "{host}");
            assert_eq!(check(host, true), Ok(()), "{host}");
        }
    }

    #[test]
    fn link_local_and_multicast_addresses_are_rejected() {
        for (host, why) in [
            ("169.254.1.1", InvalidHost::LinkLocal),
            ("[fe80::1]", InvalidHost::LinkLocal),
            ("[febf::1]", InvalidHost::LinkLocal),
            ("0.0.0.0", InvalidHost::NotUnicast),
            ("224.0.0.1", InvalidHost::NotUnicast),
            ("255.255.255.255", InvalidHost::NotUnicast),
            ("[::]", InvalidHost::NotUnicast),
            ("[ff02::1]", InvalidHost::NotUnicast),
        ] {
            assert_eq!(check(host, true), Err(why), "{host}");
        }
    }

    #[test]
    fn malformed_hosts_are_rejected() {
        for host in ["", "a b", "a/b", "user@host", "host:22", "a..b", "[::1", "-$(id)", "999.1.1.1"] {
            assert_eq!(check(host, true), Err(InvalidHost::Malformed), "{host}");
        }
    }
}
