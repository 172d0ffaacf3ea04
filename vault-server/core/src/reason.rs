//! Stable codes for why a request failed: part of the API, listed in docs/errors.md.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal, retryable: $retry:literal;)*) => {
        /// Why a request failed. Codes are never renamed or given another meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {$($(#[doc = $doc])+ $variant,)*}

        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The code on the wire.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self {$(Self::$variant => $code,)*}
            }

            /// Whether the same request may succeed when tried again later.
            #[must_use]
            pub const fn retryable(self) -> bool {
                match self {$(Self::$variant => $retry,)*}
            }
        }
    };
}

reasons! {
    /// The request has no session, or one that does not hold here and now.
    SessionInvalid = "SESSION_INVALID", retryable: false;
    /// The login failed; which part was wrong is not told.
    LoginRefused = "LOGIN_REFUSED", retryable: false;
    /// Too many logins at once.
    LoginBusy = "LOGIN_BUSY", retryable: true;
    /// Not permitted, or not there: which is not told.
    NotFoundOrDenied = "NOT_FOUND_OR_DENIED", retryable: false;
    /// A grant gives it on conditions that do not hold: of the caller's images, its node, or its pod.
    ConditionUnmet = "CONDITION_UNMET", retryable: false;
    /// What the caller may see is not there.
    NotFound = "NOT_FOUND", retryable: false;
    /// The request itself is malformed.
    InvalidArgument = "INVALID_ARGUMENT", retryable: false;
    /// The path breaks the rules for paths.
    PathInvalid = "PATH_INVALID", retryable: false;
    /// A limit is exceeded.
    LimitExceeded = "LIMIT_EXCEEDED", retryable: false;
    /// There is one of this name already.
    AlreadyExists = "ALREADY_EXISTS", retryable: false;
    /// The state is not the one that the change was meant for.
    Conflict = "CONFLICT", retryable: true;
    /// The page token is not one of this list's, or too old.
    PageTokenInvalid = "PAGE_TOKEN_INVALID", retryable: false;
    /// The idempotency key was used for another request.
    IdempotencyMismatch = "IDEMPOTENCY_MISMATCH", retryable: false;
    /// The vault is sealed.
    Sealed = "SEALED", retryable: true;
    /// The vault is not initialised yet.
    NotInitialised = "NOT_INITIALISED", retryable: true;
    /// The vault is initialised already.
    AlreadyInitialised = "ALREADY_INITIALISED", retryable: false;
    /// The request is allowed on the local socket, or with the set-up token, only.
    LocalOnly = "LOCAL_ONLY", retryable: false;
    /// The share is damaged.
    ShareInvalid = "SHARE_INVALID", retryable: false;
    /// The share belongs to another vault, or to an older set.
    ShareForeign = "SHARE_FOREIGN", retryable: false;
    /// The nonce is not that of the attempt under way.
    NonceMismatch = "NONCE_MISMATCH", retryable: false;
    /// A grant to oneself.
    SelfGrant = "SELF_GRANT", retryable: false;
    /// A role that the caller does not hold.
    RoleNotHeld = "ROLE_NOT_HELD", retryable: false;
    /// The last admin cannot be taken away.
    LastAdmin = "LAST_ADMIN", retryable: false;
    /// The policy does not pass the check.
    PolicyInvalid = "POLICY_INVALID", retryable: false;
    /// The cluster's keys cannot be used.
    KeysInvalid = "KEYS_INVALID", retryable: false;
    /// The cluster's keys cannot be fetched.
    KeysUnreachable = "KEYS_UNREACHABLE", retryable: true;
    /// What a credential is for (a database) cannot be reached, or does not answer in time.
    TargetUnavailable = "TARGET_UNAVAILABLE", retryable: true;
    /// What a credential is for (a database) refuses what it is asked.
    TargetRefused = "TARGET_REFUSED", retryable: false;
    /// Too many requests.
    Busy = "BUSY", retryable: true;
    /// The store, the audit log, or a part outside cannot be reached or does not answer in time.
    Unavailable = "UNAVAILABLE", retryable: true;
    /// The disk of the store or of the audit log is full.
    DiskFull = "DISK_FULL", retryable: true;
    /// Stored data do not open: moved, changed or damaged.
    Corrupt = "CORRUPT", retryable: false;
    /// A fault of the vault's own.
    Internal = "INTERNAL", retryable: false;
}
