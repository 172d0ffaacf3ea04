//! Every RPC of the API, and what it needs. Tests hold this list against the descriptors: an RPC that is missing here
//! fails them, and one that needs no session must be named in their own list as well.

use coffer_core::action::Action;

/// What a caller must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing: answered to strangers, and while the vault is sealed.
    Open,
    /// Credentials in the request itself.
    Login,
    /// A session, whoever's it is.
    Session,
    /// A session that policy permits this action.
    Permission(Action),
}

/// One RPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rpc {
    /// The service's name, without the package where that is `coffer.v1`.
    pub service: &'static str,
    /// The method's name.
    pub method: &'static str,
    /// What a caller must show.
    pub access: Access,
    /// Whether each call has a record in the audit log before it is answered. What strangers ask of a sealed vault has
    /// none: the log is closed then.
    pub audited: bool,
    /// Whether it acts inside the session's tenant, rather than on the vault as a whole.
    pub in_tenant: bool,
}

impl Rpc {
    /// The name that gRPC and the audit log use: `coffer.v1.KvService/GetSecret`.
    #[must_use]
    pub fn full_name(&self) -> String {
        let package = if self.service.contains('.') { "" } else { "coffer.v1." };
        format!("{package}{}/{}", self.service, self.method)
    }
}

macro_rules! rpcs {
    ($($name:ident = $service:literal $method:literal $access:expr, audited: $audited:literal, tenant: $tenant:literal;)*) => {
        $(#[doc = concat!("`", $service, ".", $method, "`")]
        pub const $name: Rpc =
            Rpc { service: $service, method: $method, access: $access, audited: $audited, in_tenant: $tenant };)*
        /// Every RPC.
        pub const ALL: &[Rpc] = &[$($name),*];
    };
}

use Access::{Login, Open, Permission, Session};

rpcs! {
    GET_SEAL_STATUS = "SystemService" "GetSealStatus" Open, audited: false, tenant: false;
    INIT = "SystemService" "Init" Open, audited: true, tenant: false;
    UNSEAL = "SystemService" "Unseal" Open, audited: true, tenant: false;
    SEAL = "SystemService" "Seal" Permission(Action::Seal), audited: true, tenant: false;
    GET_STATUS = "SystemService" "GetStatus" Permission(Action::StatusRead), audited: true, tenant: false;
    RECOVER = "SystemService" "Recover" Open, audited: true, tenant: false;

    ROTATE_KEYS = "KeyService" "RotateKeys" Permission(Action::KeysManage), audited: true, tenant: false;
    GET_KEYS = "KeyService" "GetKeys" Permission(Action::StatusRead), audited: true, tenant: false;
    START_REWRAP = "KeyService" "StartRewrap" Permission(Action::KeysManage), audited: true, tenant: false;
    START_REKEY = "KeyService" "StartRekey" Permission(Action::KeysManage), audited: true, tenant: false;
    SUBMIT_REKEY_SHARE = "KeyService" "SubmitRekeyShare" Open, audited: true, tenant: false;
    CANCEL_REKEY = "KeyService" "CancelRekey" Permission(Action::KeysManage), audited: true, tenant: false;

    SAVE_SNAPSHOT = "SnapshotService" "SaveSnapshot" Permission(Action::SnapshotSave), audited: true, tenant: false;
    RESTORE_SNAPSHOT = "SnapshotService" "RestoreSnapshot" Open, audited: true, tenant: false;

    LOGIN_WORKLOAD = "AuthService" "LoginWorkload" Login, audited: true, tenant: true;
    LOGIN_PASSWORD = "AuthService" "LoginPassword" Login, audited: true, tenant: true;
    LOGIN_CERTIFICATE = "AuthService" "LoginCertificate" Login, audited: true, tenant: true;
    LOGIN_BOOTSTRAP = "AuthService" "LoginBootstrap" Login, audited: true, tenant: true;
    LOGOUT = "AuthService" "Logout" Session, audited: true, tenant: true;
    GET_SELF = "AuthService" "GetSelf" Session, audited: true, tenant: true;

    CREATE_OPERATOR = "OperatorService" "CreateOperator" Permission(Action::OperatorsManage), audited: true, tenant: true;
    GET_OPERATOR = "OperatorService" "GetOperator" Permission(Action::OperatorsRead), audited: true, tenant: true;
    LIST_OPERATORS = "OperatorService" "ListOperators" Permission(Action::OperatorsRead), audited: true, tenant: true;
    UPDATE_OPERATOR = "OperatorService" "UpdateOperator" Permission(Action::OperatorsManage), audited: true, tenant: true;
    SET_PASSWORD = "OperatorService" "SetPassword" Session, audited: true, tenant: true;
    DELETE_OPERATOR = "OperatorService" "DeleteOperator" Permission(Action::OperatorsManage), audited: true, tenant: true;

    LIST_SESSIONS = "SessionService" "ListSessions" Permission(Action::SessionsRead), audited: true, tenant: true;
    REVOKE_SESSION = "SessionService" "RevokeSession" Permission(Action::SessionsManage), audited: true, tenant: true;
    REVOKE_PRINCIPAL = "SessionService" "RevokePrincipal" Permission(Action::SessionsManage), audited: true, tenant: true;

    CREATE_CLUSTER = "ClusterService" "CreateCluster" Permission(Action::ClustersManage), audited: true, tenant: true;
    GET_CLUSTER = "ClusterService" "GetCluster" Permission(Action::ClustersRead), audited: true, tenant: true;
    LIST_CLUSTERS = "ClusterService" "ListClusters" Permission(Action::ClustersRead), audited: true, tenant: true;
    UPDATE_CLUSTER = "ClusterService" "UpdateCluster" Permission(Action::ClustersManage), audited: true, tenant: true;
    DELETE_CLUSTER = "ClusterService" "DeleteCluster" Permission(Action::ClustersManage), audited: true, tenant: true;
    CONFIRM_POD_LOSS = "ClusterService" "ConfirmPodLoss" Permission(Action::ClustersManage), audited: true, tenant: true;

    CREATE_MOUNT = "MountService" "CreateMount" Permission(Action::MountsManage), audited: true, tenant: true;
    LIST_MOUNTS = "MountService" "ListMounts" Permission(Action::MountsRead), audited: true, tenant: true;
    DELETE_MOUNT = "MountService" "DeleteMount" Permission(Action::MountsManage), audited: true, tenant: true;

    ISSUE_CREDENTIAL = "LeaseService" "IssueCredential" Permission(Action::Read), audited: true, tenant: true;
    RENEW_LEASE = "LeaseService" "RenewLease" Session, audited: true, tenant: true;
    REVOKE_LEASE = "LeaseService" "RevokeLease" Session, audited: true, tenant: true;
    REVOKE_LEASES = "LeaseService" "RevokeLeases" Permission(Action::LeasesManage), audited: true, tenant: true;
    GET_LEASE = "LeaseService" "GetLease" Session, audited: true, tenant: true;
    LIST_LEASES = "LeaseService" "ListLeases" Permission(Action::LeasesRead), audited: true, tenant: true;
    FORGET_LEASE = "LeaseService" "ForgetLease" Permission(Action::LeasesManage), audited: true, tenant: true;
    ACKNOWLEDGE_CREDENTIAL = "LeaseService" "AcknowledgeCredential" Permission(Action::Read), audited: true, tenant: true;

    PUT_CONNECTION = "DatabaseService" "PutConnection" Permission(Action::Write), audited: true, tenant: true;
    GET_CONNECTION = "DatabaseService" "GetConnection" Permission(Action::List), audited: true, tenant: true;
    LIST_CONNECTIONS = "DatabaseService" "ListConnections" Permission(Action::List), audited: true, tenant: true;
    DELETE_CONNECTION = "DatabaseService" "DeleteConnection" Permission(Action::Delete), audited: true, tenant: true;
    ROTATE_CONNECTION = "DatabaseService" "RotateConnection" Permission(Action::Write), audited: true, tenant: true;
    SWEEP_CONNECTION = "DatabaseService" "SweepConnection" Permission(Action::Write), audited: true, tenant: true;
    PUT_ROLE = "DatabaseService" "PutRole" Permission(Action::Write), audited: true, tenant: true;
    GET_ROLE = "DatabaseService" "GetRole" Permission(Action::List), audited: true, tenant: true;
    LIST_ROLES = "DatabaseService" "ListRoles" Permission(Action::List), audited: true, tenant: true;
    DELETE_ROLE = "DatabaseService" "DeleteRole" Permission(Action::Delete), audited: true, tenant: true;
    CHECK_ROLE = "DatabaseService" "CheckRole" Permission(Action::Write), audited: true, tenant: true;
    PUT_STATIC_ROLE = "DatabaseService" "PutStaticRole" Permission(Action::Write), audited: true, tenant: true;
    GET_STATIC_ROLE = "DatabaseService" "GetStaticRole" Permission(Action::List), audited: true, tenant: true;
    LIST_STATIC_ROLES = "DatabaseService" "ListStaticRoles" Permission(Action::List), audited: true, tenant: true;
    DELETE_STATIC_ROLE = "DatabaseService" "DeleteStaticRole" Permission(Action::Delete), audited: true, tenant: true;
    ROTATE_STATIC_ROLE = "DatabaseService" "RotateStaticRole" Permission(Action::Write), audited: true, tenant: true;

    PUT_KUBERNETES_ROLE = "KubernetesService" "PutKubernetesRole" Permission(Action::Write), audited: true, tenant: true;
    GET_KUBERNETES_ROLE = "KubernetesService" "GetKubernetesRole" Permission(Action::List), audited: true, tenant: true;
    LIST_KUBERNETES_ROLES = "KubernetesService" "ListKubernetesRoles" Permission(Action::List), audited: true, tenant: true;
    DELETE_KUBERNETES_ROLE = "KubernetesService" "DeleteKubernetesRole" Permission(Action::Delete), audited: true, tenant: true;
    CHECK_KUBERNETES_ROLE = "KubernetesService" "CheckKubernetesRole" Permission(Action::Write), audited: true, tenant: true;

    CREATE_TRANSIT_KEY = "TransitService" "CreateTransitKey" Permission(Action::Write), audited: true, tenant: true;
    IMPORT_TRANSIT_KEY = "TransitService" "ImportTransitKey" Permission(Action::Write), audited: true, tenant: true;
    GET_WRAPPING_KEY = "TransitService" "GetWrappingKey" Permission(Action::List), audited: true, tenant: true;
    GET_TRANSIT_KEY = "TransitService" "GetTransitKey" Permission(Action::List), audited: true, tenant: true;
    LIST_TRANSIT_KEYS = "TransitService" "ListTransitKeys" Permission(Action::List), audited: true, tenant: true;
    ROTATE_TRANSIT_KEY = "TransitService" "RotateTransitKey" Permission(Action::Write), audited: true, tenant: true;
    UPDATE_TRANSIT_KEY = "TransitService" "UpdateTransitKey" Permission(Action::Write), audited: true, tenant: true;
    TRIM_TRANSIT_KEY = "TransitService" "TrimTransitKey" Permission(Action::Delete), audited: true, tenant: true;
    DELETE_TRANSIT_KEY = "TransitService" "DeleteTransitKey" Permission(Action::Delete), audited: true, tenant: true;
    ENCRYPT = "TransitService" "Encrypt" Permission(Action::Use), audited: true, tenant: true;
    DECRYPT = "TransitService" "Decrypt" Permission(Action::Use), audited: true, tenant: true;
    REWRAP = "TransitService" "Rewrap" Permission(Action::Use), audited: true, tenant: true;
    SIGN_DATA = "TransitService" "SignData" Permission(Action::Use), audited: true, tenant: true;
    VERIFY_DATA = "TransitService" "VerifyData" Permission(Action::Use), audited: true, tenant: true;
    HMAC = "TransitService" "Hmac" Permission(Action::Use), audited: true, tenant: true;
    CREATE_DATA_KEY = "TransitService" "CreateDataKey" Permission(Action::Read), audited: true, tenant: true;
    CREATE_WRAPPED_DATA_KEY = "TransitService" "CreateWrappedDataKey" Permission(Action::Use), audited: true, tenant: true;
    GET_RANDOM = "TransitService" "GetRandom" Permission(Action::Use), audited: true, tenant: true;

    CREATE_GRANT = "GrantService" "CreateGrant" Permission(Action::PolicyManage), audited: true, tenant: true;
    DELETE_GRANT = "GrantService" "DeleteGrant" Permission(Action::PolicyManage), audited: true, tenant: true;
    LIST_GRANTS = "GrantService" "ListGrants" Permission(Action::PolicyRead), audited: true, tenant: true;

    PUT_SIGNER = "GateService" "PutSigner" Permission(Action::GateManage), audited: true, tenant: true;
    LIST_SIGNERS = "GateService" "ListSigners" Permission(Action::GateRead), audited: true, tenant: true;
    DELETE_SIGNER = "GateService" "DeleteSigner" Permission(Action::GateManage), audited: true, tenant: true;
    ATTEST_IMAGE = "GateService" "AttestImage" Session, audited: true, tenant: true;
    LIST_STORED_MARKS = "GateService" "ListStoredMarks" Session, audited: true, tenant: true;
    LIST_VERDICTS = "GateService" "ListVerdicts" Permission(Action::GateRead), audited: true, tenant: true;
    REVOKE_VERDICT = "GateService" "RevokeVerdict" Permission(Action::GateManage), audited: true, tenant: true;
    LIST_GATED_PODS = "GateService" "ListGatedPods" Permission(Action::GateRead), audited: true, tenant: true;

    LIST_IMAGE_PACKAGES = "AdvisoryService" "ListImagePackages" Permission(Action::GateRead), audited: true, tenant: true;
    IMPORT_ADVISORIES = "AdvisoryService" "ImportAdvisories" Permission(Action::GateManage), audited: true, tenant: true;
    LIST_ADVISORY_IMPORTS = "AdvisoryService" "ListAdvisoryImports" Permission(Action::GateRead), audited: true, tenant: true;

    PREVIEW_CHANGE = "PreviewService" "PreviewChange" Permission(Action::GateRead), audited: true, tenant: true;

    PUT_POLICY = "PolicyService" "PutPolicy" Permission(Action::PolicyManage), audited: true, tenant: true;
    GET_POLICY = "PolicyService" "GetPolicy" Permission(Action::PolicyRead), audited: true, tenant: true;
    LIST_POLICIES = "PolicyService" "ListPolicies" Permission(Action::PolicyRead), audited: true, tenant: true;
    DELETE_POLICY = "PolicyService" "DeletePolicy" Permission(Action::PolicyManage), audited: true, tenant: true;
    LINT_POLICY = "PolicyService" "LintPolicy" Permission(Action::PolicyRead), audited: true, tenant: true;
    EXPLAIN = "PolicyService" "Explain" Permission(Action::PolicyRead), audited: true, tenant: true;

    REPORT_POSTURE = "PostureService" "ReportPosture" Session, audited: true, tenant: true;
    LIST_POSTURES = "PostureService" "ListPostures" Permission(Action::GateRead), audited: true, tenant: true;
    GET_POSTURE = "PostureService" "GetPosture" Permission(Action::GateRead), audited: true, tenant: true;
    CONFIRM_POSTURE_LOSS = "PostureService" "ConfirmPostureLoss" Permission(Action::GateManage), audited: true, tenant: true;

    GET_SECRET = "KvService" "GetSecret" Permission(Action::Read), audited: true, tenant: true;
    PUT_SECRET = "KvService" "PutSecret" Permission(Action::Write), audited: true, tenant: true;
    ROLLBACK_SECRET = "KvService" "RollbackSecret" Permission(Action::Write), audited: true, tenant: true;
    LIST_SECRETS = "KvService" "ListSecrets" Permission(Action::List), audited: true, tenant: true;
    GET_SECRET_METADATA = "KvService" "GetSecretMetadata" Permission(Action::List), audited: true, tenant: true;
    PUT_SECRET_METADATA = "KvService" "PutSecretMetadata" Permission(Action::Write), audited: true, tenant: true;
    DELETE_VERSIONS = "KvService" "DeleteVersions" Permission(Action::Delete), audited: true, tenant: true;
    UNDELETE_VERSIONS = "KvService" "UndeleteVersions" Permission(Action::Delete), audited: true, tenant: true;
    DESTROY_VERSIONS = "KvService" "DestroyVersions" Permission(Action::Destroy), audited: true, tenant: true;
    DESTROY_SECRET = "KvService" "DestroySecret" Permission(Action::Destroy), audited: true, tenant: true;

    CREATE_ISSUER = "PkiService" "CreateIssuer" Permission(Action::Write), audited: true, tenant: true;
    CREATE_INTERMEDIATE = "PkiService" "CreateIntermediate" Permission(Action::Write), audited: true, tenant: true;
    IMPORT_ISSUER = "PkiService" "ImportIssuer" Permission(Action::Write), audited: true, tenant: true;
    INSTALL_CERTIFICATE = "PkiService" "InstallCertificate" Permission(Action::Write), audited: true, tenant: true;
    SIGN_ISSUER = "PkiService" "SignIssuer" Permission(Action::Use), audited: true, tenant: true;
    GET_ISSUER = "PkiService" "GetIssuer" Permission(Action::List), audited: true, tenant: true;
    LIST_ISSUERS = "PkiService" "ListIssuers" Permission(Action::List), audited: true, tenant: true;
    DELETE_ISSUER = "PkiService" "DeleteIssuer" Permission(Action::Delete), audited: true, tenant: true;
    GET_PKI_CONFIG = "PkiService" "GetPkiConfig" Permission(Action::List), audited: true, tenant: true;
    PUT_PKI_CONFIG = "PkiService" "PutPkiConfig" Permission(Action::Write), audited: true, tenant: true;
    PUT_PKI_ROLE = "PkiService" "PutPkiRole" Permission(Action::Write), audited: true, tenant: true;
    GET_PKI_ROLE = "PkiService" "GetPkiRole" Permission(Action::List), audited: true, tenant: true;
    LIST_PKI_ROLES = "PkiService" "ListPkiRoles" Permission(Action::List), audited: true, tenant: true;
    DELETE_PKI_ROLE = "PkiService" "DeletePkiRole" Permission(Action::Delete), audited: true, tenant: true;
    ISSUE_CERTIFICATE = "PkiService" "IssueCertificate" Permission(Action::Read), audited: true, tenant: true;
    SIGN_CERTIFICATE = "PkiService" "SignCertificate" Permission(Action::Use), audited: true, tenant: true;
    GET_CERTIFICATE = "PkiService" "GetCertificate" Permission(Action::List), audited: true, tenant: true;
    LIST_CERTIFICATES = "PkiService" "ListCertificates" Permission(Action::List), audited: true, tenant: true;
    REVOKE_CERTIFICATE = "PkiService" "RevokeCertificate" Permission(Action::Delete), audited: true, tenant: true;
    GET_CRL = "PkiService" "GetCrl" Permission(Action::List), audited: true, tenant: true;

    WATCH = "WatchService" "Watch" Session, audited: true, tenant: true;

    TAIL_AUDIT = "AuditService" "TailAudit" Permission(Action::AuditRead), audited: true, tenant: false;
    GET_CHECKPOINT = "AuditService" "GetCheckpoint" Permission(Action::AuditRead), audited: true, tenant: false;

    HEALTH_CHECK = "grpc.health.v1.Health" "Check" Open, audited: false, tenant: false;
    HEALTH_WATCH = "grpc.health.v1.Health" "Watch" Open, audited: false, tenant: false;
}
