//! Every RPC of the protocol, and who may call it. An RPC without a row here fails.

use std::{collections::BTreeSet, pin::Pin, sync::LazyLock};

use anyhow::Result;
use coffer_client::{Client, Error, proto::*};
use coffer_tests::issuer::{Issuer, Pod};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::{Request, Status};
use tonic_health::pb::{FILE_DESCRIPTOR_SET, HealthCheckRequest, health_client::HealthClient};

use crate::{
    audit::WITHOUT_RECORD,
    vault::{ADMIN, AUDITOR, CLUSTER, OFFICER, Vault, secret},
};

const PATH: &str = "kv/matrix/secret";
/// A certificate that nobody has.
const NUMBER: &str = "pki/certificates/4000000000000000000000000000000000000000";
/// A pod that may read [`PATH`] and use a key, and nothing else.
const READER: &str = "reader";
/// A pod that nothing was granted to.
const NOBODY: &str = "nobody";

/// Who may call an RPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Whoever reaches the vault.
    Anyone,
    /// Whoever has a session.
    Session,
    /// Those.
    Only(&'static [&'static str]),
}
use Access::{Anyone, Only, Session};

type Answer = Pin<Box<dyn Future<Output = Result<(), Status>> + Send>>;

/// An RPC: how to call it, and who may.
pub(crate) struct Row {
    pub(crate) rpc: &'static str,
    access: Access,
    /// Calls it; the second is the request's id.
    pub(crate) call: fn(Client, String) -> Answer,
}

/// A request that carries an id of ours.
pub(crate) fn named<T>(message: T, id: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("coffer-request-id", id.parse().expect("ids are ASCII"));
    request
}

macro_rules! rows {
    ($($service:literal / $rpc:literal, $access:expr, $client:ident.$method:ident($message:expr $(, $stream:ident)?);)*) => {
        vec![$(Row {
            rpc: concat!($service, "/", $rpc),
            access: $access,
            call: |client, id| Box::pin(async move {
                let answer = rows!(# client $client).$method(named($message, &id)).await;
                rows!(@ answer $($stream)?)
            }),
        }),*]
    };
    // Not one of Coffer's own services.
    (# $client:ident health) => { HealthClient::new($client.connection()) };
    (# $client:ident $service:ident) => { $client.$service() };
    (@ $answer:ident) => { $answer.map(drop) };
    // A stream has answered with its first message.
    (@ $answer:ident stream) => { $answer?.into_inner().message().await.map(drop) };
}

/// One row for each RPC. Called in this order, none spoils what a later one needs.
pub(crate) fn rows() -> Vec<Row> {
    [of_the_vault(), of_the_gate(), of_engines(), of_pki(), of_the_end()].into_iter().flatten().collect()
}

fn of_the_gate() -> Vec<Row> {
    rows! {
        "AdvisoryService"/"ListImagePackages", Only(&[ADMIN, OFFICER, AUDITOR]), advisories.list_image_packages(ListImagePackagesRequest::default());
        "AdvisoryService"/"ImportAdvisories", Only(&[OFFICER]), advisories.import_advisories(ImportAdvisoriesRequest {
            scopes: vec![AdvisoryScope { scope: "Go".into(), ..Default::default() }], ..Default::default() });
        "AdvisoryService"/"ListAdvisoryImports", Only(&[ADMIN, OFFICER, AUDITOR]), advisories.list_advisory_imports(ListAdvisoryImportsRequest {});
        "PreviewService"/"PreviewChange", Only(&[ADMIN, OFFICER, AUDITOR]), previews.preview_change(PreviewChangeRequest {
            change: Some(preview_change_request::Change::RevokeVerdict(VerdictChange {
                manifest: format!("sha256:{}", "0".repeat(64)), ..Default::default() })) });

        "GateService"/"PutSigner", Only(&[OFFICER]), gate.put_signer(PutSignerRequest { name: "release".into(), key_path: "transit/sign/absent".into() });
        "GateService"/"ListSigners", Only(&[ADMIN, OFFICER, AUDITOR]), gate.list_signers(ListSignersRequest {});
        "GateService"/"DeleteSigner", Only(&[OFFICER]), gate.delete_signer(DeleteSignerRequest { name: "absent".into() });
        // Who may use the key of a signer may: there is none.
        "GateService"/"AttestImage", Only(&[]), gate.attest_image(AttestImageRequest {
            signer: "absent".into(), scan: Some(crate::gate::clean_scan(1)), ..Default::default() });
        "GateService"/"ListStoredMarks", Only(&[]), gate.list_stored_marks(ListStoredMarksRequest {
            signer: "absent".into(), key: vec![7; 32], ..Default::default() });
        "GateService"/"ListVerdicts", Only(&[ADMIN, OFFICER, AUDITOR]), gate.list_verdicts(ListVerdictsRequest::default());
        "GateService"/"RevokeVerdict", Only(&[OFFICER]), gate.revoke_verdict(RevokeVerdictRequest {
            manifest: format!("sha256:{}", "0".repeat(64)), ..Default::default() });
        "GateService"/"ListGatedPods", Only(&[ADMIN, OFFICER, AUDITOR]), gate.list_gated_pods(ListGatedPodsRequest::default());
        "PostureService"/"ReportPosture", Only(&[]), postures.report_posture(ReportPostureRequest::default());
        "PostureService"/"ListPostures", Only(&[ADMIN, OFFICER, AUDITOR]), postures.list_postures(ListPosturesRequest::default());
        "PostureService"/"GetPosture", Only(&[ADMIN, OFFICER, AUDITOR]), postures.get_posture(GetPostureRequest {
            cluster: CLUSTER.into(), node: "absent".into() });
        "PostureService"/"ConfirmPostureLoss", Only(&[OFFICER]), postures.confirm_posture_loss(ConfirmPostureLossRequest { cluster: CLUSTER.into() });
    }
}

fn of_the_vault() -> Vec<Row> {
    rows! {
        "AuditService"/"TailAudit", Only(&[AUDITOR]), audit.tail_audit(TailAuditRequest { last: 1, ..Default::default() }, stream);
        "AuditService"/"GetCheckpoint", Only(&[AUDITOR]), audit.get_checkpoint(GetCheckpointRequest {});

        "AuthService"/"LoginWorkload", Anyone, auth.login_workload(LoginWorkloadRequest::default());
        "AuthService"/"LoginPassword", Anyone, auth.login_password(LoginPasswordRequest::default());
        "AuthService"/"LoginCertificate", Anyone, auth.login_certificate(LoginCertificateRequest::default());
        "AuthService"/"LoginBootstrap", Anyone, auth.login_bootstrap(LoginBootstrapRequest::default());
        "AuthService"/"GetSelf", Session, auth.get_self(GetSelfRequest {});

        "ClusterService"/"CreateCluster", Only(&[ADMIN]), clusters.create_cluster(CreateClusterRequest {
            name: CLUSTER.into(), settings: settings(), ..Default::default() });
        "ClusterService"/"GetCluster", Only(&[ADMIN, OFFICER, AUDITOR]), clusters.get_cluster(GetClusterRequest { name: CLUSTER.into() });
        "ClusterService"/"ListClusters", Only(&[ADMIN, OFFICER, AUDITOR]), clusters.list_clusters(ListClustersRequest::default());
        "ClusterService"/"UpdateCluster", Only(&[ADMIN]), clusters.update_cluster(UpdateClusterRequest {
            name: "absent".into(), settings: settings(), ..Default::default() });
        "ClusterService"/"DeleteCluster", Only(&[ADMIN]), clusters.delete_cluster(DeleteClusterRequest { name: "absent".into(), ..Default::default() });
        "ClusterService"/"ConfirmPodLoss", Only(&[ADMIN]), clusters.confirm_pod_loss(ConfirmPodLossRequest { name: "absent".into() });

        "GrantService"/"CreateGrant", Only(&[OFFICER]), grants.create_grant(CreateGrantRequest {
            actions: vec!["read".into()], path: PATH.into(), principal: "k8s:test/shop/reader".into(), ..Default::default() });
        "GrantService"/"DeleteGrant", Only(&[OFFICER]), grants.delete_grant(DeleteGrantRequest { id: "0".repeat(32) });
        "GrantService"/"ListGrants", Only(&[OFFICER, AUDITOR]), grants.list_grants(ListGrantsRequest::default());

        "KeyService"/"RotateKeys", Only(&[ADMIN]), keys.rotate_keys(RotateKeysRequest {});
        "KeyService"/"GetKeys", Only(&[ADMIN, OFFICER, AUDITOR]), keys.get_keys(GetKeysRequest {});
        "KeyService"/"StartRewrap", Only(&[ADMIN]), keys.start_rewrap(StartRewrapRequest {});
        "KeyService"/"StartRekey", Only(&[ADMIN]), keys.start_rekey(StartRekeyRequest { share_count: 3, share_threshold: 2, ..Default::default() });
        "KeyService"/"SubmitRekeyShare", Anyone, keys.submit_rekey_share(SubmitRekeyShareRequest { share: "coffer-share-none".into(), ..Default::default() });
        "KeyService"/"CancelRekey", Only(&[ADMIN]), keys.cancel_rekey(CancelRekeyRequest {});

        "OperatorService"/"CreateOperator", Only(&[ADMIN, OFFICER]), operators.create_operator(CreateOperatorRequest {
            name: ADMIN.into(), roles: vec!["auditor".into()], ..Default::default() });
        "OperatorService"/"GetOperator", Only(&[ADMIN, OFFICER, AUDITOR]), operators.get_operator(GetOperatorRequest { name: ADMIN.into() });
        "OperatorService"/"ListOperators", Only(&[ADMIN, OFFICER, AUDITOR]), operators.list_operators(ListOperatorsRequest::default());
        "OperatorService"/"UpdateOperator", Only(&[ADMIN, OFFICER]), operators.update_operator(UpdateOperatorRequest {
            name: AUDITOR.into(), roles: vec!["auditor".into()], ..Default::default() });
        "OperatorService"/"SetPassword", Only(&[ADMIN]), operators.set_password(SetPasswordRequest {
            name: "absent".into(), new_password: "a password of some length".into(), ..Default::default() });
        "OperatorService"/"DeleteOperator", Only(&[ADMIN, OFFICER]), operators.delete_operator(DeleteOperatorRequest { name: "absent".into(), ..Default::default() });

        "PolicyService"/"PutPolicy", Only(&[OFFICER]), policies.put_policy(PutPolicyRequest { name: "matrix".into(), ..Default::default() });
        "PolicyService"/"GetPolicy", Only(&[OFFICER, AUDITOR]), policies.get_policy(GetPolicyRequest { name: "absent".into() });
        "PolicyService"/"ListPolicies", Only(&[OFFICER, AUDITOR]), policies.list_policies(ListPoliciesRequest::default());
        "PolicyService"/"DeletePolicy", Only(&[OFFICER]), policies.delete_policy(DeletePolicyRequest { name: "absent".into(), ..Default::default() });
        "PolicyService"/"LintPolicy", Only(&[OFFICER, AUDITOR]), policies.lint_policy(LintPolicyRequest { text: String::new() });
        "PolicyService"/"Explain", Only(&[OFFICER, AUDITOR]), policies.explain(ExplainRequest {
            principal: "k8s:test/shop/reader".into(), action: "read".into(), path: PATH.into() });

        "SessionService"/"ListSessions", Only(&[ADMIN, AUDITOR]), sessions.list_sessions(ListSessionsRequest::default());
        "SessionService"/"RevokeSession", Only(&[ADMIN]), sessions.revoke_session(RevokeSessionRequest { id: "0".repeat(32) });
        "SessionService"/"RevokePrincipal", Only(&[ADMIN]), sessions.revoke_principal(RevokePrincipalRequest { principal: "k8s:test/shop/absent".into() });

        "SnapshotService"/"SaveSnapshot", Only(&[ADMIN]), snapshots.save_snapshot(SaveSnapshotRequest::default(), stream);
        "SnapshotService"/"RestoreSnapshot", Anyone, snapshots.restore_snapshot(tokio_stream::iter([RestoreSnapshotRequest::default()]));

        "SystemService"/"GetSealStatus", Anyone, system.get_seal_status(GetSealStatusRequest {});
        "SystemService"/"Init", Anyone, system.init(InitRequest::default());
        "SystemService"/"Unseal", Anyone, system.unseal(UnsealRequest { share: "coffer-share-none".into(), ..Default::default() });
        "SystemService"/"Recover", Anyone, system.recover(RecoverRequest { share: "coffer-share-none".into(), ..Default::default() });
        "SystemService"/"GetStatus", Only(&[ADMIN, OFFICER, AUDITOR]), system.get_status(GetStatusRequest {});

        "grpc.health.v1.Health"/"Check", Anyone, health.check(HealthCheckRequest::default());
        "grpc.health.v1.Health"/"Watch", Anyone, health.watch(HealthCheckRequest::default(), stream);

        "WatchService"/"Watch", Only(&[READER]), watches.watch(WatchRequest { paths: vec![PATH.into()], ..Default::default() }, stream);
    }
}

fn of_engines() -> Vec<Row> {
    rows! {
        "DatabaseService"/"PutConnection", Only(&[ADMIN]), databases.put_connection(PutConnectionRequest { path: "database/config/absent".into(), connection: Some(DatabaseConnection::default()), ..Default::default() });
        "DatabaseService"/"GetConnection", Only(&[ADMIN, OFFICER, AUDITOR]), databases.get_connection(GetConnectionRequest { path: "database/config/absent".into() });
        "DatabaseService"/"ListConnections", Only(&[ADMIN, OFFICER, AUDITOR]), databases.list_connections(ListConnectionsRequest { path: "database/config".into() });
        "DatabaseService"/"DeleteConnection", Only(&[ADMIN]), databases.delete_connection(DeleteConnectionRequest { path: "database/config/absent".into() });
        "DatabaseService"/"RotateConnection", Only(&[ADMIN]), databases.rotate_connection(RotateConnectionRequest { path: "database/config/absent".into() });
        "DatabaseService"/"SweepConnection", Only(&[ADMIN]), databases.sweep_connection(SweepConnectionRequest { path: "database/config/absent".into(), dry_run: true });
        "DatabaseService"/"PutRole", Only(&[ADMIN]), databases.put_role(PutRoleRequest { path: "database/roles/absent".into(), role: Some(DatabaseRole::default()) });
        "DatabaseService"/"GetRole", Only(&[ADMIN, OFFICER, AUDITOR]), databases.get_role(GetRoleRequest { path: "database/roles/absent".into() });
        "DatabaseService"/"ListRoles", Only(&[ADMIN, OFFICER, AUDITOR]), databases.list_roles(ListRolesRequest { path: "database/roles".into() });
        "DatabaseService"/"DeleteRole", Only(&[ADMIN]), databases.delete_role(DeleteRoleRequest { path: "database/roles/absent".into() });
        "DatabaseService"/"CheckRole", Only(&[ADMIN]), databases.check_role(CheckRoleRequest { path: "database/roles/absent".into() });
        "DatabaseService"/"PutStaticRole", Only(&[ADMIN]), databases.put_static_role(PutStaticRoleRequest { path: "database/static-roles/absent".into(), role: Some(DatabaseStaticRole::default()) });
        "DatabaseService"/"GetStaticRole", Only(&[ADMIN, OFFICER, AUDITOR]), databases.get_static_role(GetStaticRoleRequest { path: "database/static-roles/absent".into() });
        "DatabaseService"/"ListStaticRoles", Only(&[ADMIN, OFFICER, AUDITOR]), databases.list_static_roles(ListStaticRolesRequest { path: "database/static-roles".into() });
        "DatabaseService"/"DeleteStaticRole", Only(&[ADMIN]), databases.delete_static_role(DeleteStaticRoleRequest { path: "database/static-roles/absent".into() });
        "DatabaseService"/"RotateStaticRole", Only(&[ADMIN]), databases.rotate_static_role(RotateStaticRoleRequest { path: "database/static-roles/absent".into(), at_once: false });
        "KubernetesService"/"PutKubernetesRole", Only(&[ADMIN]), kubernetes.put_kubernetes_role(PutKubernetesRoleRequest { path: "kubernetes/roles/absent".into(), role: Some(KubernetesRole { service_account: "a".into(), ..Default::default() }) });
        "KubernetesService"/"GetKubernetesRole", Only(&[ADMIN, OFFICER, AUDITOR]), kubernetes.get_kubernetes_role(GetKubernetesRoleRequest { path: "kubernetes/roles/absent".into() });
        "KubernetesService"/"ListKubernetesRoles", Only(&[ADMIN, OFFICER, AUDITOR]), kubernetes.list_kubernetes_roles(ListKubernetesRolesRequest { path: "kubernetes/roles".into() });
        "KubernetesService"/"DeleteKubernetesRole", Only(&[ADMIN]), kubernetes.delete_kubernetes_role(DeleteKubernetesRoleRequest { path: "kubernetes/roles/absent".into() });
        "KubernetesService"/"CheckKubernetesRole", Only(&[ADMIN]), kubernetes.check_kubernetes_role(CheckKubernetesRoleRequest { path: "kubernetes/roles/absent".into() });

        "KvService"/"GetSecret", Only(&[READER]), kv.get_secret(GetSecretRequest { path: PATH.into(), version: 0 });
        "KvService"/"PutSecret", Only(&[ADMIN]), kv.put_secret(secret(PATH, "field", "changed"));
        "KvService"/"RollbackSecret", Only(&[ADMIN]), kv.rollback_secret(RollbackSecretRequest { path: PATH.into(), version: 1, ..Default::default() });
        "KvService"/"ListSecrets", Only(&[ADMIN, OFFICER, AUDITOR]), kv.list_secrets(ListSecretsRequest { path: "kv/matrix".into(), ..Default::default() });
        "KvService"/"GetSecretMetadata", Only(&[ADMIN, OFFICER, AUDITOR]), kv.get_secret_metadata(GetSecretMetadataRequest { path: PATH.into() });
        "KvService"/"PutSecretMetadata", Only(&[ADMIN]), kv.put_secret_metadata(PutSecretMetadataRequest { path: PATH.into(), ..Default::default() });
        "KvService"/"DeleteVersions", Only(&[ADMIN]), kv.delete_versions(DeleteVersionsRequest { path: PATH.into(), versions: vec![1] });
        "KvService"/"UndeleteVersions", Only(&[ADMIN]), kv.undelete_versions(UndeleteVersionsRequest { path: PATH.into(), versions: vec![1] });
        "KvService"/"DestroyVersions", Only(&[ADMIN]), kv.destroy_versions(DestroyVersionsRequest { path: PATH.into(), versions: vec![1] });
        "KvService"/"DestroySecret", Only(&[ADMIN]), kv.destroy_secret(DestroySecretRequest { path: PATH.into(), etag: String::new() });

        "LeaseService"/"IssueCredential", Only(&[READER]), leases.issue_credential(IssueCredentialRequest { path: PATH.into(), ..Default::default() });
        "LeaseService"/"RenewLease", Only(&[]), leases.renew_lease(RenewLeaseRequest { id: no_lease(), ttl_seconds: 0 });
        "LeaseService"/"RevokeLease", Only(&[ADMIN]), leases.revoke_lease(RevokeLeaseRequest { id: no_lease() });
        "LeaseService"/"RevokeLeases", Only(&[ADMIN]), leases.revoke_leases(RevokeLeasesRequest { path: "kv".into(), ..Default::default() });
        "LeaseService"/"GetLease", Only(&[ADMIN, AUDITOR]), leases.get_lease(GetLeaseRequest { id: no_lease() });
        "LeaseService"/"ListLeases", Only(&[ADMIN, AUDITOR]), leases.list_leases(ListLeasesRequest::default());
        "LeaseService"/"ForgetLease", Only(&[ADMIN]), leases.forget_lease(ForgetLeaseRequest { id: no_lease() });
        "LeaseService"/"AcknowledgeCredential", Only(&[READER]), leases.acknowledge_credential(AcknowledgeCredentialRequest { path: PATH.into(), version: 1 });

        "TransitService"/"CreateTransitKey", Only(&[ADMIN]), transit.create_transit_key(CreateTransitKeyRequest { path: "transit/keys/absent".into(), r#type: "ed25519".into(), ..Default::default() });
        "TransitService"/"ImportTransitKey", Only(&[ADMIN]), transit.import_transit_key(ImportTransitKeyRequest { path: "transit/keys/absent".into(), r#type: "ed25519".into(), ..Default::default() });
        "TransitService"/"GetWrappingKey", Only(&[ADMIN, OFFICER, AUDITOR]), transit.get_wrapping_key(GetWrappingKeyRequest { path: "transit/keys".into() });
        "TransitService"/"GetTransitKey", Only(&[ADMIN, OFFICER, AUDITOR]), transit.get_transit_key(GetTransitKeyRequest { path: "transit/keys/absent".into() });
        "TransitService"/"ListTransitKeys", Only(&[ADMIN, OFFICER, AUDITOR]), transit.list_transit_keys(ListTransitKeysRequest { path: "transit/keys".into() });
        "TransitService"/"RotateTransitKey", Only(&[ADMIN]), transit.rotate_transit_key(RotateTransitKeyRequest { path: "transit/keys/absent".into(), ..Default::default() });
        "TransitService"/"UpdateTransitKey", Only(&[ADMIN]), transit.update_transit_key(UpdateTransitKeyRequest { path: "transit/keys/absent".into(), ..Default::default() });
        "TransitService"/"TrimTransitKey", Only(&[ADMIN]), transit.trim_transit_key(TrimTransitKeyRequest { path: "transit/keys/absent".into() });
        "TransitService"/"DeleteTransitKey", Only(&[ADMIN]), transit.delete_transit_key(DeleteTransitKeyRequest { path: "transit/keys/absent".into() });
        "TransitService"/"Encrypt", Only(&[READER]), transit.encrypt(EncryptRequest { path: "transit/encrypt/key".into(), ..Default::default() });
        "TransitService"/"Decrypt", Only(&[READER]), transit.decrypt(DecryptRequest { path: "transit/decrypt/key".into(), ..Default::default() });
        "TransitService"/"Rewrap", Only(&[READER]), transit.rewrap(RewrapRequest { path: "transit/rewrap/key".into(), ..Default::default() });
        "TransitService"/"SignData", Only(&[READER]), transit.sign_data(SignDataRequest { path: "transit/sign/key".into(), ..Default::default() });
        "TransitService"/"VerifyData", Only(&[READER]), transit.verify_data(VerifyDataRequest { path: "transit/verify/key".into(), ..Default::default() });
        "TransitService"/"Hmac", Only(&[READER]), transit.hmac(HmacRequest { path: "transit/hmac/key".into(), ..Default::default() });
        "TransitService"/"CreateDataKey", Only(&[READER]), transit.create_data_key(CreateDataKeyRequest { path: "transit/datakey/key".into(), ..Default::default() });
        "TransitService"/"CreateWrappedDataKey", Only(&[READER]), transit.create_wrapped_data_key(CreateWrappedDataKeyRequest { path: "transit/datakey/key".into(), ..Default::default() });
        "TransitService"/"GetRandom", Only(&[READER]), transit.get_random(GetRandomRequest { path: "transit/random".into(), random_bytes: 1 });

        "MountService"/"CreateMount", Only(&[ADMIN]), mounts.create_mount(CreateMountRequest { name: "kv".into(), engine: "kv".into(), ..Default::default() });
        "MountService"/"ListMounts", Only(&[ADMIN, OFFICER, AUDITOR]), mounts.list_mounts(ListMountsRequest::default());
        "MountService"/"DeleteMount", Only(&[ADMIN]), mounts.delete_mount(DeleteMountRequest { name: "absent".into(), ..Default::default() });
    }
}

fn of_pki() -> Vec<Row> {
    rows! {
        "PkiService"/"CreateIssuer", Only(&[ADMIN]), pki.create_issuer(CreateIssuerRequest { path: "pki/issuers/root".into(), ..Default::default() });
        "PkiService"/"CreateIntermediate", Only(&[ADMIN]), pki.create_intermediate(CreateIntermediateRequest { path: "pki/issuers/below".into(), ..Default::default() });
        "PkiService"/"ImportIssuer", Only(&[ADMIN]), pki.import_issuer(ImportIssuerRequest { path: "pki/issuers/old".into(), ..Default::default() });
        "PkiService"/"InstallCertificate", Only(&[ADMIN]), pki.install_certificate(InstallCertificateRequest { path: "pki/issuers/below".into(), ..Default::default() });
        "PkiService"/"SignIssuer", Only(&[READER]), pki.sign_issuer(SignIssuerRequest { path: "pki/sign-ca/root".into(), ..Default::default() });
        "PkiService"/"GetIssuer", Only(&[ADMIN, OFFICER, AUDITOR]), pki.get_issuer(GetIssuerRequest { path: "pki/issuers/root".into() });
        "PkiService"/"ListIssuers", Only(&[ADMIN, OFFICER, AUDITOR]), pki.list_issuers(ListIssuersRequest { path: "pki/issuers".into(), ..Default::default() });
        "PkiService"/"DeleteIssuer", Only(&[ADMIN]), pki.delete_issuer(DeleteIssuerRequest { path: "pki/issuers/root".into(), ..Default::default() });
        "PkiService"/"GetPkiConfig", Only(&[ADMIN, OFFICER, AUDITOR]), pki.get_pki_config(GetPkiConfigRequest { path: "pki/config".into() });
        "PkiService"/"PutPkiConfig", Only(&[ADMIN]), pki.put_pki_config(PutPkiConfigRequest { path: "pki/config".into(), config: Some(PkiConfig::default()) });
        "PkiService"/"PutPkiRole", Only(&[ADMIN]), pki.put_pki_role(PutPkiRoleRequest { path: "pki/roles/web".into(), role: Some(PkiRole::default()), ..Default::default() });
        "PkiService"/"GetPkiRole", Only(&[ADMIN, OFFICER, AUDITOR]), pki.get_pki_role(GetPkiRoleRequest { path: "pki/roles/web".into() });
        "PkiService"/"ListPkiRoles", Only(&[ADMIN, OFFICER, AUDITOR]), pki.list_pki_roles(ListPkiRolesRequest { path: "pki/roles".into(), ..Default::default() });
        "PkiService"/"DeletePkiRole", Only(&[ADMIN]), pki.delete_pki_role(DeletePkiRoleRequest { path: "pki/roles/web".into(), ..Default::default() });
        "PkiService"/"IssueCertificate", Only(&[READER]), pki.issue_certificate(IssueCertificateRequest { path: "pki/issue/web".into(), ..Default::default() });
        "PkiService"/"SignCertificate", Only(&[READER]), pki.sign_certificate(SignCertificateRequest { path: "pki/sign/web".into(), ..Default::default() });
        "PkiService"/"GetCertificate", Only(&[ADMIN, OFFICER, AUDITOR]), pki.get_certificate(GetCertificateRequest { path: NUMBER.into() });
        "PkiService"/"ListCertificates", Only(&[ADMIN, OFFICER, AUDITOR]), pki.list_certificates(ListCertificatesRequest { path: "pki/certificates".into(), ..Default::default() });
        "PkiService"/"RevokeCertificate", Only(&[ADMIN]), pki.revoke_certificate(RevokeCertificateRequest { path: NUMBER.into(), ..Default::default() });
        "PkiService"/"GetCrl", Only(&[ADMIN, OFFICER, AUDITOR]), pki.get_crl(GetCrlRequest { path: "pki/issuers/root".into() });
    }
}

/// What ends what the others need.
fn of_the_end() -> Vec<Row> {
    rows! {
        "AuthService"/"Logout", Session, auth.logout(LogoutRequest {});
        "SystemService"/"Seal", Only(&[ADMIN]), system.seal(SealRequest {});
    }
}

/// The id of a lease that there is not.
fn no_lease() -> String {
    format!("kv/creds/absent/{}", "0".repeat(32))
}

/// Settings of a cluster that nothing is wrong with.
fn settings() -> Option<ClusterSettings> {
    static JWKS: LazyLock<String> = LazyLock::new(|| Issuer::es256("").expect("there are random numbers").jwks().to_string());
    Some(ClusterSettings {
        issuer: "https://matrix.test".into(),
        keys: Some(KeySource { source: Some(key_source::Source::Jwks(JWKS.clone())) }),
        ..Default::default()
    })
}

/// How an answer looks to policy: let through (whatever came of it), or stopped, and by what.
fn verdict(answer: &Result<(), Status>) -> &'static str {
    let Err(status) = answer else { return "let through" };
    match Error::from(status.clone()).detail().reason.as_str() {
        "SESSION_INVALID" => "no session",
        "NOT_FOUND_OR_DENIED" => "denied",
        _ => "let through",
    }
}

#[test]
fn every_rpc_of_the_protocol_has_a_row() -> Result<()> {
    let mut rpcs = BTreeSet::new();
    for (descriptors, package, prefix) in
        [(coffer_proto::DESCRIPTORS, "coffer.v1", ""), (FILE_DESCRIPTOR_SET, "grpc.health.v1", "grpc.health.v1.")]
    {
        let set = FileDescriptorSet::decode(descriptors)?;
        for service in set.file.iter().filter(|file| file.package() == package).flat_map(|file| &file.service) {
            rpcs.extend(service.method.iter().map(|method| format!("{prefix}{}/{}", service.name(), method.name())));
        }
    }
    let rows: Vec<_> = rows().iter().map(|row| row.rpc.to_owned()).collect();
    assert_eq!(rows.len(), rpcs.len(), "a row twice, or one too few");
    assert_eq!(rows.into_iter().collect::<BTreeSet<_>>(), rpcs);
    Ok(())
}

#[test]
fn only_these_rpcs_need_no_session() {
    let open: BTreeSet<_> = rows().iter().filter(|row| row.access == Anyone).map(|row| row.rpc).collect();
    let golden = [
        "AuthService/LoginBootstrap",
        "AuthService/LoginCertificate",
        "AuthService/LoginPassword",
        "AuthService/LoginWorkload",
        "KeyService/SubmitRekeyShare",
        "SnapshotService/RestoreSnapshot",
        "SystemService/GetSealStatus",
        "SystemService/Init",
        "SystemService/Recover",
        "SystemService/Unseal",
        "grpc.health.v1.Health/Check",
        "grpc.health.v1.Health/Watch",
    ];
    assert_eq!(open, golden.into_iter().collect());
}

/// Every RPC by every kind of caller: who is let through is what the table says, and each call has left a record.
#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_lets_through_whom_its_row_names_and_leaves_a_record() -> Result<()> {
    let vault = Vault::new().await?;
    vault.grant_read(PATH, "k8s:test/shop/reader").await?;
    vault.mount("pki", "pki").await?;
    vault.grant(&["read"], "pki/issue/web", "k8s:test/shop/reader").await?;
    vault.grant(&["use"], "pki/sign/web", "k8s:test/shop/reader").await?;
    vault.grant(&["use"], "pki/sign-ca/root", "k8s:test/shop/reader").await?;
    vault.mount("transit", "transit").await?;
    for what in ["encrypt", "decrypt", "rewrap", "sign", "verify", "hmac", "datakey"] {
        vault.grant(&["read", "use"], &format!("transit/{what}/key"), "k8s:test/shop/reader").await?;
    }
    vault.grant(&["use"], "transit/random", "k8s:test/shop/reader").await?;
    let mut callers = vec![("stranger", vault.stranger()?)];
    for name in [READER, NOBODY] {
        callers.push((name, vault.workload(&Pod::new("shop", name)?).await?));
    }
    // The admin last: it seals the vault.
    for name in [AUDITOR, OFFICER, ADMIN] {
        callers.push((name, vault.operator(name).await?));
    }
    let (writer, auditor) = (vault.operator(ADMIN).await?, vault.operator(AUDITOR).await?);

    let rows = rows();
    let mut wrong = Vec::new();
    let mut unrecorded = Vec::new();
    for (caller, client) in &callers {
        for row in &rows {
            let sealing = row.rpc == "SystemService/Seal" && *caller == ADMIN;
            if !sealing {
                writer.kv().put_secret(secret(PATH, "field", "value")).await?;
            }
            let expected = match row.access {
                Anyone => "let through",
                // The session's last call was to end it.
                _ if *caller == "stranger" || row.rpc == "SystemService/Seal" && *caller != ADMIN => "no session",
                Session => "let through",
                Only(who) if who.contains(caller) => "let through",
                Only(_) => "denied",
            };
            let again;
            // An admin who has logged out cannot seal: it logs in anew.
            let client = if sealing {
                again = vault.operator(ADMIN).await?;
                &again
            } else if *caller == "stranger" {
                // One address may fail so often, and is then told to come later.
                again = vault.stranger()?;
                &again
            } else {
                client
            };
            let id = format!("{caller}-{}", row.rpc.replace('/', "-"));
            let answer = (row.call)(client.clone(), id.clone()).await;
            if verdict(&answer) != expected {
                wrong.push(format!("{} by {caller}: {}, not {expected}: {:?}", row.rpc, verdict(&answer), answer.err()));
            }
            if !sealing && expected != "no session" && !WITHOUT_RECORD.contains(&row.rpc) && !recorded(&auditor, &id).await? {
                unrecorded.push(id);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(unrecorded.is_empty(), "without a record: {}", unrecorded.join("\n"));
    Ok(())
}

/// Whether one of the audit log's last entries is of this request.
pub(crate) async fn recorded(auditor: &Client, id: &str) -> Result<bool> {
    let request = TailAuditRequest { last: 20, ..Default::default() };
    let mut entries = auditor.audit().tail_audit(request).await?.into_inner();
    while let Some(entry) = entries.message().await? {
        if entry.record_json.contains(id) {
            return Ok(true);
        }
    }
    Ok(false)
}
