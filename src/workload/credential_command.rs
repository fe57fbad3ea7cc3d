//! Errors of the commands that a kubeconfig runs to get credentials, without what these print: that may be a token. Pure.

use std::error::Error;

use kube::client::AuthError;

/// What failed, if the cause of the error is such a command. kube's own text has the command's output.
pub fn describe(error: &dyn Error) -> Option<String> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(error) = cause.downcast_ref::<AuthError>() {
            return describe_auth(error);
        }
        next = cause.source();
    }
    None
}

fn describe_auth(error: &AuthError) -> Option<String> {
    const COMMAND: &str = "the command that the kubeconfig runs to get credentials";
    match error {
        AuthError::AuthExecRun { out, .. } => Some(format!("{COMMAND} failed ({})", out.status)),
        // The parser quotes what it reads.
        AuthError::AuthExecParse(_) => Some(format!("{COMMAND} printed something else than an ExecCredential")),
        AuthError::ParseTokenKey(_) => Some(format!("{COMMAND} printed something else than JSON")),
        AuthError::MalformedTokenExpirationDate(_) => {
            Some("the time at which the credentials expire cannot be read".to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_error() -> AuthError {
        let broken = serde_saphyr::from_str::<u8>("welcome\n{\"token\": \"k8s-aws-v1.SECRET\"}\n").unwrap_err();
        AuthError::AuthExecParse(Box::new(broken))
    }

    #[test]
    fn output_of_the_command_is_not_shown_wherever_the_error_is() {
        let wraps: [fn(AuthError) -> kube::Error; 2] =
            [kube::Error::Auth, |error| kube::Error::Service(Box::new(error))];
        for wrap in wraps {
            let text = describe(&wrap(parse_error())).unwrap();
            assert!(text.ends_with("something else than an ExecCredential"), "{text}");
        }
    }

    #[test]
    fn other_errors_are_left_to_their_own_text() {
        assert_eq!(describe(&kube::Error::Auth(AuthError::MissingCommand)), None);
        assert_eq!(describe(&kube::Error::Service("refused".into())), None);
    }
}
