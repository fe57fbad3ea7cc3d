//! Kinds of EC2 resources: one file for each. And networks that the user provides.

pub mod egress_only_internet_gateway;
pub mod elastic_ip;
pub mod existing_network;
pub mod existing_placement;
pub mod existing_subnets;
pub mod flow_log;
pub mod internet_gateway;
pub mod nat_gateway;
pub mod private_endpoints;
pub mod route;
pub mod route_table;
pub mod route_table_association;
pub mod security_group;
pub mod subnet;
pub mod vpc;
pub mod vpc_cidr;
pub mod vpc_endpoint;
