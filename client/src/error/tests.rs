use std::collections::HashMap;

use tonic_types::ErrorDetails;

use super::*;

fn status(code: Code, reason: &str, retryable: bool) -> Status {
    let metadata =
        HashMap::from([("request_id".to_owned(), "0123abc".to_owned()), ("retryable".to_owned(), retryable.to_string())]);
    Status::with_error_details(code, "said so", ErrorDetails::with_error_info(reason, DOMAIN, metadata))
}

#[test]
fn reasons_choose_the_blame() {
    for (code, reason, blame) in [
        (Code::NotFound, "NOT_FOUND_OR_DENIED", Blame::Denied),
        (Code::NotFound, "NOT_FOUND", Blame::NotFound),
        (Code::Unauthenticated, "SESSION_INVALID", Blame::Unauthenticated),
        (Code::Unauthenticated, "LOGIN_REFUSED", Blame::Unauthenticated),
        (Code::ResourceExhausted, "LOGIN_BUSY", Blame::Unavailable),
        (Code::FailedPrecondition, "SEALED", Blame::Sealed),
        (Code::FailedPrecondition, "NOT_INITIALISED", Blame::Sealed),
        (Code::InvalidArgument, "PATH_INVALID", Blame::Invalid),
        (Code::ResourceExhausted, "BUSY", Blame::Unavailable),
        (Code::Aborted, "CONFLICT", Blame::Conflict),
        (Code::AlreadyExists, "ALREADY_EXISTS", Blame::Conflict),
        (Code::DataLoss, "CORRUPT", Blame::Server),
        (Code::InvalidArgument, "A_REASON_OF_A_LATER_SERVER", Blame::Invalid),
    ] {
        let error = Error::from(status(code, reason, false));
        assert_eq!(error.blame(), blame, "{reason}");
        assert_eq!(error.reason(), reason);
    }
}

#[test]
fn the_details_of_the_answer_are_kept() {
    let error = Error::from(status(Code::Unavailable, "UNAVAILABLE", true));
    assert!(error.retryable());
    assert_eq!(error.request_id(), Some("0123abc"));
    assert_eq!(error.to_string(), "said so");
    assert!(!Error::from(status(Code::NotFound, "NOT_FOUND_OR_DENIED", false)).retryable());
}

#[test]
fn only_session_invalid_asks_for_a_new_login() {
    assert!(Error::from(status(Code::Unauthenticated, "SESSION_INVALID", false)).session_invalid());
    assert!(!Error::from(status(Code::Unauthenticated, "LOGIN_REFUSED", false)).session_invalid());
}

#[test]
fn reasons_of_another_domain_are_not_believed() {
    let details = ErrorDetails::with_error_info("SEALED", "example.com", HashMap::new());
    let error = Error::from(Status::with_error_details(Code::PermissionDenied, "proxy says no", details));
    assert_eq!(error.blame(), Blame::Denied);
    assert_eq!(error.reason(), "UNKNOWN");
}

#[test]
fn text_of_a_server_cannot_steer_a_terminal_nor_grow_without_bound() {
    let hostile = "\u{1b}[2J".to_owned() + &"x".repeat(MESSAGE_CHARS_MAX * 2);
    let metadata = HashMap::from([("request_id".to_owned(), "a\u{1b}[0m\nb".to_owned() + &"9".repeat(1_000))]);
    let details = ErrorDetails::with_error_info("BAD\nREASON\u{7}", DOMAIN, metadata);
    let error = Error::from(Status::with_error_details(Code::Internal, hostile, details));
    assert!(!error.to_string().contains('\u{1b}'));
    assert_eq!(error.to_string().chars().count(), MESSAGE_CHARS_MAX);
    assert_eq!(error.reason(), "BADREASON");
    assert_eq!(error.request_id().unwrap().len(), WORD_CHARS_MAX);
}

#[test]
fn own_errors_survive_the_way_through_the_channel() {
    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] Error);
    let error = Error::from(Status::from_error(Box::new(Outer(Error::untrusted("not from a CA in the bundle")))));
    assert_eq!(error.blame(), Blame::Untrusted);
    assert_eq!(error.to_string(), "not from a CA in the bundle");
}
