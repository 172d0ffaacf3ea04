//! Failures as gRPC statuses: the only place where one becomes the other.

use std::collections::BTreeMap;

use coffer_core::reason::Reason;
use coffer_vault::Failure;
use prost::Message;
use prost_types::Any;
use tonic::{Code, Status};

/// The domain of our reasons, in `google.rpc.ErrorInfo`.
const DOMAIN: &str = "coffer.dev";

/// The status of a failure. Two failures of the same reason, message and request id are the same, byte by byte.
pub(crate) fn status(failure: &Failure, request_id: &str) -> Status {
    let info = ErrorInfo {
        reason: failure.reason.code().to_owned(),
        domain: DOMAIN.to_owned(),
        metadata: BTreeMap::from([
            ("request_id".to_owned(), request_id.to_owned()),
            ("retryable".to_owned(), failure.reason.retryable().to_string()),
        ]),
    };
    let (code, message) = (code(failure.reason), failure.message.as_ref());
    let info = Any { type_url: ERROR_INFO.to_owned(), value: info.encode_to_vec() };
    let details = RpcStatus { code: code.into(), message: message.to_owned(), details: vec![info] };
    Status::with_details(code, message, details.encode_to_vec().into())
}

/// The code of the reason that a status tells.
pub(crate) fn reason(status: &Status) -> Option<String> {
    let details = RpcStatus::decode(status.details()).ok()?;
    let info = details.details.iter().find(|detail| detail.type_url == ERROR_INFO)?;
    ErrorInfo::decode(info.value.as_slice()).ok().map(|info| info.reason)
}

/// The name of [`ErrorInfo`].
const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";

/// `google.rpc.ErrorInfo`, with its map in order: generated code has it in any order, and refusals that differ in
/// that are told apart.
#[derive(Clone, PartialEq, Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(btree_map = "string, string", tag = "3")]
    metadata: BTreeMap<String, String>,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// The gRPC code of a reason: docs/errors.md lists them.
const fn code(reason: Reason) -> Code {
    match reason {
        Reason::SessionInvalid | Reason::LoginRefused => Code::Unauthenticated,
        Reason::LoginBusy | Reason::Busy => Code::ResourceExhausted,
        Reason::NotFoundOrDenied | Reason::ConditionUnmet | Reason::LocalOnly | Reason::SelfGrant | Reason::RoleNotHeld => {
            Code::PermissionDenied
        }
        Reason::NotFound => Code::NotFound,
        Reason::InvalidArgument
        | Reason::PathInvalid
        | Reason::LimitExceeded
        | Reason::PageTokenInvalid
        | Reason::IdempotencyMismatch
        | Reason::ShareInvalid
        | Reason::ShareForeign
        | Reason::PolicyInvalid
        | Reason::KeysInvalid => Code::InvalidArgument,
        Reason::AlreadyExists | Reason::AlreadyInitialised => Code::AlreadyExists,
        Reason::Conflict | Reason::NonceMismatch => Code::Aborted,
        Reason::Sealed
        | Reason::NotInitialised
        | Reason::KeysUnreachable
        | Reason::TargetUnavailable
        | Reason::Unavailable
        | Reason::DiskFull => Code::Unavailable,
        Reason::LastAdmin | Reason::TargetRefused => Code::FailedPrecondition,
        Reason::Corrupt => Code::DataLoss,
        Reason::Internal => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt;

    use super::*;

    #[test]
    fn clients_read_reason_domain_and_metadata() {
        let status = status(&Failure::not_found_or_denied(), "some-id");
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("NOT_FOUND_OR_DENIED", DOMAIN));
        assert_eq!((info.metadata["request_id"].as_str(), info.metadata["retryable"].as_str()), ("some-id", "false"));
        assert_eq!(info.metadata.len(), 2);
        assert_eq!(reason(&status).as_deref(), Some("NOT_FOUND_OR_DENIED"));
        assert_eq!(reason(&Status::internal("no details")), None);
    }

    #[test]
    fn one_failure_is_the_same_bytes_every_time() {
        let bytes = || status(&Failure::not_found_or_denied(), "some-id").details().to_vec();
        let first = bytes();
        assert!((0..100).all(|_| bytes() == first));
    }
}
