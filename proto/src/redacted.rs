//! `Debug` for messages with secret fields: the message's name and nothing of its content.

use std::fmt;

macro_rules! redacted {
    ($($message:ident),* $(,)?) => {$(
        impl fmt::Debug for crate::v1::$message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($message), " { [redacted] }"))
            }
        }
    )*};
}

redacted!(
    InitRequest,
    InitResponse,
    UnsealRequest,
    RecoverRequest,
    RecoverResponse,
    SubmitRekeyShareRequest,
    SubmitRekeyShareResponse,
    RestoreStart,
    Session,
    LoginWorkloadRequest,
    LoginPasswordRequest,
    LoginBootstrapRequest,
    CreateOperatorRequest,
    SetPasswordRequest,
    GetSecretResponse,
    PutSecretRequest,
    IssueCredentialResponse,
    PutConnectionRequest,
    IssueCertificateResponse,
    ImportIssuerRequest,
    EncryptItem,
    DecryptResult,
    SignDataItem,
    VerifyDataItem,
    HmacItem,
    CreateDataKeyResponse,
    GetRandomResponse,
    ImportTransitKeyRequest,
);
