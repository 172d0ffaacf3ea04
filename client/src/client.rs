//! The client: one vault, one identity, one session.

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::{Arc, PoisonError},
    time::{Duration, SystemTime},
};

use coffer_proto::v1;
use coffer_proto::v1::{
    advisory_service_client::AdvisoryServiceClient, audit_service_client::AuditServiceClient,
    auth_service_client::AuthServiceClient, cluster_service_client::ClusterServiceClient,
    database_service_client::DatabaseServiceClient, gate_service_client::GateServiceClient,
    grant_service_client::GrantServiceClient, key_service_client::KeyServiceClient,
    kubernetes_service_client::KubernetesServiceClient, kv_service_client::KvServiceClient,
    lease_service_client::LeaseServiceClient, mount_service_client::MountServiceClient,
    operator_service_client::OperatorServiceClient, pki_service_client::PkiServiceClient,
    policy_service_client::PolicyServiceClient, posture_service_client::PostureServiceClient,
    preview_service_client::PreviewServiceClient, session_service_client::SessionServiceClient,
    snapshot_service_client::SnapshotServiceClient, system_service_client::SystemServiceClient,
    transit_service_client::TransitServiceClient, watch_service_client::WatchServiceClient,
};
use coffer_secret::SecretString;
use http::Uri;
use tokio::time::timeout;
use tonic::transport::Endpoint as Http;

use crate::{
    Credential, Identity, Lease, ResumeToken, Secret, WATCH_PATHS_MAX, Watch,
    connection::{Connection, SharedToken},
    connector::{Connector, Target},
    endpoint::Endpoint,
    error::Error,
};

/// Bytes in a message: a secret of 1 MiB, a page of names.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// How long a connection may take, unless said otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call may take, unless said otherwise.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// How often an open connection with calls on it is asked whether it lives.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long it may take to say so.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How to reach a vault.
#[derive(Debug, Clone)]
pub struct Options {
    /// `https://HOST[:PORT]`, with port 8200 where none is given, or `unix:///PATH` for the vault's local socket.
    pub endpoint: String,
    /// PEM file with the CA certificates to believe, at most 1 MiB; read again for every connection. Needed for https.
    pub ca: Option<PathBuf>,
    /// The name that the vault's certificate must be for; none means the endpoint's host.
    pub server_name: Option<String>,
    /// The key pair to show.
    pub identity: Identity,
    /// How long a connection may take, TLS included; 5 seconds unless changed.
    pub connect_timeout: Duration,
    /// How long a call may take, waiting for a connection and the whole answer included; 15 seconds unless changed.
    /// A request can have its own (`tonic::Request::set_timeout`). Streams have none.
    pub call_timeout: Duration,
}

impl Options {
    /// Options with the usual timeouts, and without CA and server name.
    #[must_use]
    pub fn new(endpoint: impl Into<String>, identity: Identity) -> Self {
        Self {
            endpoint: endpoint.into(),
            ca: None,
            server_name: None,
            identity,
            connect_timeout: CONNECT_TIMEOUT,
            call_timeout: CALL_TIMEOUT,
        }
    }
}

/// A session, without its token: that stays in the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The session's id; no secret.
    pub id: String,
    /// Who it is for, as grants name it.
    pub principal: String,
    /// When it ends, by the vault's clock.
    pub expires: SystemTime,
}

/// A vault's client. Clones share the connection and the session.
#[derive(Clone)]
pub struct Client {
    connection: Connection,
    token: SharedToken,
    endpoint: Arc<str>,
    call_timeout: Duration,
}

macro_rules! services {
    ($($(#[doc = $doc:literal])+ $name:ident: $client:ident;)*) => {$(
        $(#[doc = $doc])+
        #[must_use]
        pub fn $name(&self) -> $client<Connection> {
            $client::new(self.connection.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX)
        }
    )*};
}

impl Client {
    /// Prepares a client. Nothing is sent yet: the connection is made for the first call, and again whenever it broke,
    /// with growing waits between attempts. Call it inside a Tokio runtime.
    ///
    /// # Errors
    /// [`Error::Config`] for an address or a server name that cannot be read, or https without a CA bundle. The
    /// bundle itself is read when a connection is made.
    pub fn connect(options: Options) -> Result<Self, Error> {
        let endpoint = Endpoint::parse(&options.endpoint)?;
        if matches!(endpoint, Endpoint::Tls { .. }) && options.ca.is_none() {
            return Err(Error::config("no CA bundle is given: name the PEM file with the vault's CA certificate"));
        }
        let origin = endpoint.origin()?;
        let shown = endpoint.to_string().into();
        let target = Target {
            endpoint,
            ca: options.ca,
            server_name: options.server_name,
            identity: options.identity,
            connect_timeout: options.connect_timeout,
        };
        target.server_name()?;
        // The connector knows where to go and does TLS itself. The scheme must be plain here: tonic refuses https when
        // its own TLS is compiled in and not set up; requests name the true origin.
        let channel = Http::from(Uri::from_static("http://vault"))
            .origin(origin)
            .user_agent(concat!("coffer-client/", env!("CARGO_PKG_VERSION")))
            .map_err(|_| Error::config("the client's name cannot be sent"))?
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .connect_with_connector_lazy(Connector::new(target));
        let token = SharedToken::default();
        let connection = Connection::new(channel, Arc::clone(&token), options.call_timeout);
        Ok(Self { connection, token, endpoint: shown, call_timeout: options.call_timeout })
    }

    /// The vault's address.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The session's token, for a caller that keeps it for later, beside the identity that it is bound to.
    #[must_use]
    pub fn session_token(&self) -> Option<SecretString> {
        self.token.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(SecretString::duplicate)
    }

    /// Takes up a session that a caller kept. It holds only with the identity that logged in.
    pub fn set_session_token(&self, token: Option<SecretString>) {
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = token;
    }

    /// Logs a workload in. Empty tenant: `default`; empty cluster: the one that alone has the token's issuer.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] with LOGIN_REFUSED, whatever part was wrong; else as any call.
    pub async fn login_workload(&self, tenant: &str, cluster: &str, token: &SecretString) -> Result<Session, Error> {
        let request =
            v1::LoginWorkloadRequest { tenant: tenant.to_owned(), cluster: cluster.to_owned(), token: token.expose().to_owned() };
        let answer = self.auth().login_workload(request).await?.into_inner();
        self.begin(answer.session)
    }

    /// Logs an operator in with a password. Empty tenant: `default`.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] with LOGIN_REFUSED; [`Error::Unavailable`] with LOGIN_BUSY; else as any call.
    pub async fn login_password(&self, tenant: &str, operator: &str, password: &SecretString) -> Result<Session, Error> {
        let request = v1::LoginPasswordRequest {
            tenant: tenant.to_owned(),
            operator: operator.to_owned(),
            password: password.expose().to_owned(),
        };
        let answer = self.auth().login_password(request).await?.into_inner();
        self.begin(answer.session)
    }

    /// Logs an operator in with the client's own certificate. Empty tenant: `default`.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] with LOGIN_REFUSED; else as any call.
    pub async fn login_certificate(&self, tenant: &str, operator: &str) -> Result<Session, Error> {
        let request = v1::LoginCertificateRequest { tenant: tenant.to_owned(), operator: operator.to_owned() };
        let answer = self.auth().login_certificate(request).await?.into_inner();
        self.begin(answer.session)
    }

    /// Logs in with the bootstrap credential of init or recovery.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] with LOGIN_REFUSED; else as any call.
    pub async fn login_bootstrap(&self, credential: &SecretString) -> Result<Session, Error> {
        let request = v1::LoginBootstrapRequest { credential: credential.expose().to_owned() };
        let answer = self.auth().login_bootstrap(request).await?.into_inner();
        self.begin(answer.session)
    }

    /// Ends the session, at the vault and here.
    ///
    /// # Errors
    /// As any call; the session is forgotten here even then.
    pub async fn logout(&self) -> Result<(), Error> {
        let answer = self.auth().logout(v1::LogoutRequest {}).await;
        self.set_session_token(None);
        answer.map(drop).map_err(Error::from)
    }

    /// Says who the session is for.
    ///
    /// # Errors
    /// As any call.
    pub async fn whoami(&self) -> Result<v1::GetSelfResponse, Error> {
        Ok(self.auth().get_self(v1::GetSelfRequest {}).await?.into_inner())
    }

    /// Reads a secret: the version asked for, or 0 for the newest.
    ///
    /// # Errors
    /// [`Error::Denied`] where it is not permitted or not there; else as any call.
    pub async fn kv_get(&self, path: &str, version: u64) -> Result<Secret, Error> {
        let request = v1::GetSecretRequest { path: path.to_owned(), version };
        Secret::try_from(self.kv().get_secret(request).await?.into_inner())
    }

    /// Has a credential made, `MOUNT/creds/ROLE` or `MOUNT/issue/ROLE`: to last so many seconds, or 0 for what its role says,
    /// and to be what the parameters say. With the same key, which is for this request alone, a repetition gets the same
    /// credential.
    ///
    /// # Errors
    /// [`Error::Denied`] where it is not permitted; else as any call.
    pub async fn issue_credential(
        &self,
        path: &str,
        ttl_secs: u64,
        parameters: &BTreeMap<String, String>,
        key: &str,
    ) -> Result<Credential, Error> {
        let request = v1::IssueCredentialRequest {
            path: path.to_owned(),
            ttl_seconds: ttl_secs,
            idempotency_key: key.to_owned(),
            parameters: parameters.clone(),
        };
        Credential::try_from(self.leases().issue_credential(request).await?.into_inner())
    }

    /// Says that this version of a credential is in use, and none before it: `MOUNT/static-creds/NAME`.
    ///
    /// # Errors
    /// [`Error::Denied`] where it is not permitted; else as any call.
    pub async fn acknowledge_credential(&self, path: &str, version: u64) -> Result<(), Error> {
        let request = v1::AcknowledgeCredentialRequest { path: path.to_owned(), version };
        self.leases().acknowledge_credential(request).await?;
        Ok(())
    }

    /// Lets a credential of one's own last so many seconds more, or 0 for what its role says.
    ///
    /// # Errors
    /// [`Error::Denied`] where that is not permitted any longer, [`Error::NotFound`] where it has ended; else as any call.
    pub async fn renew_lease(&self, id: &str, ttl_secs: u64) -> Result<Lease, Error> {
        let request = v1::RenewLeaseRequest { id: id.to_owned(), ttl_seconds: ttl_secs };
        let answer = self.leases().renew_lease(request).await?.into_inner();
        answer.lease.ok_or_else(|| Error::protocol("the vault's answer has no lease"))?.try_into()
    }

    /// Ends a credential of one's own.
    ///
    /// # Errors
    /// [`Error::Denied`] where that is not permitted; else as any call.
    pub async fn revoke_lease(&self, id: &str) -> Result<(), Error> {
        self.leases().revoke_lease(v1::RevokeLeaseRequest { id: id.to_owned() }).await?;
        Ok(())
    }

    /// Follows the secrets at these paths, 1 to 128.
    ///
    /// # Errors
    /// [`Error::Config`] for too many or no paths; else as any call.
    pub async fn watch(&self, paths: Vec<String>) -> Result<Watch, Error> {
        self.watch_from(paths, None).await
    }

    /// Follows the secrets at these paths, 1 to 128, and is told only what differs from what a token stands for: one of
    /// an earlier watch of the same paths by the same principal. Any other is answered with [`crate::Event::Resync`].
    ///
    /// # Errors
    /// As [`Client::watch`].
    pub async fn watch_from(&self, paths: Vec<String>, from: Option<&ResumeToken>) -> Result<Watch, Error> {
        if paths.is_empty() || paths.len() > WATCH_PATHS_MAX {
            return Err(Error::config(format!("a watch has 1 to {WATCH_PATHS_MAX} paths, not {}", paths.len())));
        }
        let mut service = self.watches();
        let call = service
            .watch(v1::WatchRequest { paths, resume_token: from.map_or_else(String::new, |token| token.text().to_owned()) });
        let answer = timeout(self.call_timeout, call).await.map_err(|_| Error::deadline())?;
        Ok(Watch::new(answer?.into_inner()))
    }

    /// The connection, with the session: for services that have no method here.
    #[must_use]
    pub fn connection(&self) -> Connection {
        self.connection.clone()
    }

    services! {
        /// Advisories that come out after images were attested.
        advisories: AdvisoryServiceClient;
        /// Audit log.
        audit: AuditServiceClient;
        /// Logging in and out. The methods of this client keep the session; this one does not.
        auth: AuthServiceClient;
        /// Clusters.
        clusters: ClusterServiceClient;
        /// Verdicts on images, their signers, and the pods that they are for.
        gate: GateServiceClient;
        /// Grants.
        grants: GrantServiceClient;
        /// Keys: rotation, re-encryption, new shares.
        keys: KeyServiceClient;
        /// Secrets.
        kv: KvServiceClient;
        /// Databases: connections and roles.
        databases: DatabaseServiceClient;
        /// Tokens of Kubernetes service accounts: roles.
        kubernetes: KubernetesServiceClient;
        /// Credentials and their leases.
        leases: LeaseServiceClient;
        /// Mounts.
        mounts: MountServiceClient;
        /// Operators.
        operators: OperatorServiceClient;
        /// Certificates.
        pki: PkiServiceClient;
        /// Policies.
        policies: PolicyServiceClient;
        /// Postures of nodes.
        postures: PostureServiceClient;
        /// What changes would take from running pods.
        previews: PreviewServiceClient;
        /// Sessions.
        sessions: SessionServiceClient;
        /// Snapshots.
        snapshots: SnapshotServiceClient;
        /// Init, unseal, seal, status.
        system: SystemServiceClient;
        /// Watches; [`Client::watch`] is easier.
        watches: WatchServiceClient;
        /// Keys that stay in the vault.
        transit: TransitServiceClient;
    }

    fn begin(&self, session: Option<v1::Session>) -> Result<Session, Error> {
        let session = session.ok_or_else(|| Error::protocol("the vault's answer has no session"))?;
        let token = SecretString::from(session.token);
        let expires = session.expires.and_then(|time| SystemTime::try_from(time).ok());
        let expires = expires.ok_or_else(|| Error::protocol("the vault's answer says no end of the session"))?;
        self.set_session_token(Some(token));
        Ok(Session { id: session.id, principal: session.principal, expires })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
