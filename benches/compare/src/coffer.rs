//! Coffer as somebody runs it: sled, TLS 1.3, an audit log whose records are durable before the answers.

use std::{collections::HashMap, fs, path::Path, sync::Arc};

use anyhow::{Context as _, Result};
use coffer_client::{
    Client, Identity, Options,
    proto::{
        ClusterSettings, CreateClusterRequest, CreateGrantRequest, CreateIssuerRequest, CreateMountRequest,
        CreateOperatorRequest, CreateTransitKeyRequest, DatabaseConnection, DatabaseRole, EncryptItem, EncryptRequest,
        GetSecretRequest, InitRequest, IssueCertificateRequest, IssueCredentialRequest, IssueCredentialResponse, KeySource,
        ListSecretsRequest, LoginWorkloadRequest, PkiRole, PodCheck, PutConnectionRequest, PutPkiRoleRequest, PutRoleRequest,
        PutSecretRequest, RevokeLeaseRequest, UnsealRequest, key_source::Source,
    },
};
use coffer_secret::SecretString;
use coffer_tests::{issuer::uuid, programs::Programs, server::Server};
use http::Request;
use http_body_util::Full;
use hyper::body::Bytes;
use prost::Message;

use crate::{
    load::{Load, Requests, Target, Then},
    scene::{CREATION, DATABASE_CONNECTIONS, JWT_ACCOUNT, KEEPER, Scene, Side, Work, body, value},
};

/// Names on a page of a list.
const PAGE_SIZE: u32 = 1_000;

/// Where users of the database come from.
const DATABASE: &str = "database/creds/bench";
/// What is used of the key.
const ENCRYPT: &str = "transit/encrypt/bench";

/// A running Coffer.
pub(crate) struct Coffer {
    /// Ends with this value.
    _server: Server,
    process: u32,
    target: Target,
    token: String,
    authority: String,
    pages: Vec<String>,
}

impl Coffer {
    /// Starts and fills it.
    pub(crate) async fn start(programs: &Programs, scene: &Scene) -> Result<Self> {
        let mut server = Server::new_in(programs, &scene.disk)?.with("log", "level", "info");
        server.start()?;
        let client = |endpoint: String, ca: Option<&Path>, identity: Identity| -> Result<Client> {
            let mut options = Options::new(endpoint, identity);
            options.ca = ca.map(Path::to_owned);
            Ok(Client::connect(options)?)
        };
        let local = client(server.socket_url(), None, Identity::generate()?)?;
        let request = InitRequest { share_count: 1, share_threshold: 1, ..InitRequest::default() };
        let fruits = local.system().init(request).await?.into_inner();
        let share = fruits.shares.first().context("there is a share")?.clone();
        local.system().unseal(UnsealRequest { share, ..UnsealRequest::default() }).await?;
        let remote = || client(server.url()?, Some(&server.ca()), Identity::generate()?);
        let first = remote()?;
        first.login_bootstrap(&SecretString::from(fruits.bootstrap_credential)).await?;
        let password = uuid()?;
        for role in ["admin", "officer"] {
            let request = CreateOperatorRequest {
                name: role.to_owned(),
                roles: vec![role.to_owned()],
                password: password.clone(),
                ..CreateOperatorRequest::default()
            };
            first.operators().create_operator(request).await?;
        }
        let (admin, officer) = (remote()?, remote()?);
        let password = SecretString::from(password);
        admin.login_password("", "admin", &password).await?;
        officer.login_password("", "officer", &password).await?;
        let settings = ClusterSettings {
            issuer: scene.issuer.url().to_owned(),
            keys: Some(KeySource { source: Some(Source::Jwks(scene.issuer.jwks().to_string())) }),
            pod_check: PodCheck::None.into(),
            ..ClusterSettings::default()
        };
        let request = CreateClusterRequest { name: "bench".into(), settings: Some(settings), idempotency_key: String::new() };
        admin.clusters().create_cluster(request).await?;
        let (namespace, account) = JWT_ACCOUNT;
        let request = CreateGrantRequest {
            actions: ["read", "write", "list"].map(str::to_owned).to_vec(),
            path: "kv/**".into(),
            principal: format!("k8s:bench/{namespace}/{account}"),
            idempotency_key: String::new(),
            require: Vec::new(),
        };
        officer.grants().create_grant(request).await?;
        make_key(&admin, &officer).await?;
        make_ca(&admin, &officer).await?;
        if let Some(port) = scene.database {
            make_database(&admin, &officer, port).await?;
        }
        // A session without a pod check lasts ten minutes: long enough for a run.
        let identity = Identity::generate()?;
        let workload = client(server.url()?, Some(&server.ca()), identity.clone())?;
        workload.login_workload("", "bench", &SecretString::from(scene.token(JWT_ACCOUNT)?)).await?;
        let token = workload.session_token().context("there is a session")?.expose().to_owned();

        let target = Target::new(server.address()?, &fs::read(server.ca())?, Some(identity.to_pem().expose().as_bytes()))?;
        let process = server.process()?.id();
        let authority = server.address()?.to_string();
        let mut coffer = Self { _server: server, process, target, token, authority, pages: Vec::new() };
        coffer.target.fill(4, scene.read_keys, &coffer.put("read", scene.read_keys)).await?;
        coffer.target.fill(4, scene.list_keys, &coffer.put("list", scene.list_keys)).await?;
        let mut page_token = String::new();
        loop {
            coffer.pages.push(page_token.clone());
            let request = ListSecretsRequest { path: "kv/list".into(), page_size: PAGE_SIZE, page_token };
            page_token = workload.kv().list_secrets(request).await?.into_inner().next_page_token;
            if page_token.is_empty() {
                return Ok(coffer);
            }
        }
    }

    fn grpc(&self, method: &'static str) -> impl Fn(&[u8]) -> Request<Full<Bytes>> + Send + Sync + 'static {
        let uri = format!("https://{}/coffer.v1.{method}", self.authority);
        let token = format!("Bearer {}", self.token);
        move |message| {
            let mut framed = vec![0; 5];
            framed.extend_from_slice(message);
            let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
            framed.splice(1..5, length.to_be_bytes());
            let request = Request::builder().method("POST").uri(&uri).header("content-type", "application/grpc");
            body(request.header("te", "trailers").header("authorization", &token), Bytes::from(framed))
        }
    }

    /// Ends the user of an answer, and comes back when that is done.
    fn end(&self) -> Then {
        let grpc = self.grpc("LeaseService/RevokeLease");
        Arc::new(move |answer| {
            let answer = IssueCredentialResponse::decode(answer.get(5..).context("an answer has a length before it")?)?;
            Ok(grpc(&RevokeLeaseRequest { id: answer.lease.context("there is a lease")?.id }.encode_to_vec()))
        })
    }

    fn certificates(&self, role: &'static str) -> Requests {
        let grpc = self.grpc("PkiService/IssueCertificate");
        Arc::new(move |number| {
            let (path, names) = (format!("pki/issue/{role}"), vec![format!("host-{number}.bench.test")]);
            grpc(&IssueCertificateRequest { path, names, ..IssueCertificateRequest::default() }.encode_to_vec())
        })
    }

    fn put(&self, folder: &'static str, keys: u64) -> Requests {
        let grpc = self.grpc("KvService/PutSecret");
        Arc::new(move |number| {
            let path = format!("kv/{folder}/{}", number.wrapping_mul(7_919) % keys);
            let fields = HashMap::from([("value".to_owned(), value(number))]);
            grpc(&PutSecretRequest { path, fields, ..PutSecretRequest::default() }.encode_to_vec())
        })
    }
}

/// Makes a role of which the workload may have users of the database.
async fn make_database(admin: &Client, officer: &Client, port: u16) -> Result<()> {
    let mount = CreateMountRequest { name: "database".into(), engine: "database".into(), ..CreateMountRequest::default() };
    admin.mounts().create_mount(mount).await?;
    let (user, password) = KEEPER;
    let connection = DatabaseConnection {
        kind: "postgresql".into(),
        host: "127.0.0.1".into(),
        port: port.into(),
        database: "postgres".into(),
        user: user.into(),
        plaintext: true,
        connections: DATABASE_CONNECTIONS,
        ..DatabaseConnection::default()
    };
    let (path, password) = ("database/config/bench".into(), password.into());
    admin.databases().put_connection(PutConnectionRequest { path, connection: Some(connection), password }).await?;
    let role = DatabaseRole {
        connection: "bench".into(),
        creation_statements: CREATION.split("; ").map(str::to_owned).collect(),
        default_ttl_seconds: 3_600,
        ..DatabaseRole::default()
    };
    admin.databases().put_role(PutRoleRequest { path: "database/roles/bench".into(), role: Some(role) }).await?;
    let (namespace, account) = JWT_ACCOUNT;
    let grant = CreateGrantRequest {
        actions: vec!["read".to_owned()],
        path: DATABASE.into(),
        principal: format!("k8s:bench/{namespace}/{account}"),
        idempotency_key: String::new(),
        require: Vec::new(),
    };
    officer.grants().create_grant(grant).await?;
    Ok(())
}

/// Makes a CA, and roles of which the workload may have certificates.
async fn make_ca(admin: &Client, officer: &Client) -> Result<()> {
    let mount = CreateMountRequest { name: "pki".into(), engine: "pki".into(), ..CreateMountRequest::default() };
    admin.mounts().create_mount(mount).await?;
    let issuer = CreateIssuerRequest {
        path: "pki/issuers/bench".into(),
        common_name: "bench".into(),
        key_type: "p256".into(),
        ttl_seconds: 365 * 24 * 3_600,
        ..CreateIssuerRequest::default()
    };
    admin.pki().create_issuer(issuer).await?;
    for (name, no_store) in [("stored", false), ("unstored", true)] {
        let allowed_hosts = vec!["**.bench.test".into()];
        let role = PkiRole { issuer: "bench".into(), allowed_hosts, no_store, ttl_seconds: 3_600, ..PkiRole::default() };
        let path = format!("pki/roles/{name}");
        admin.pki().put_pki_role(PutPkiRoleRequest { path, role: Some(role), etag: String::new() }).await?;
        let (namespace, account) = JWT_ACCOUNT;
        let grant = CreateGrantRequest {
            actions: vec!["read".to_owned()],
            path: format!("pki/issue/{name}"),
            principal: format!("k8s:bench/{namespace}/{account}"),
            idempotency_key: String::new(),
            require: Vec::new(),
        };
        officer.grants().create_grant(grant).await?;
    }
    Ok(())
}

/// Makes a key that the workload may encrypt with.
async fn make_key(admin: &Client, officer: &Client) -> Result<()> {
    let mount = CreateMountRequest { name: "transit".into(), engine: "transit".into(), ..CreateMountRequest::default() };
    admin.mounts().create_mount(mount).await?;
    let path = "transit/keys/bench".to_owned();
    let key = CreateTransitKeyRequest { path, r#type: "aes256-gcm".into(), deletion_allowed: false };
    admin.transit().create_transit_key(key).await?;
    let (namespace, account) = JWT_ACCOUNT;
    let request = CreateGrantRequest {
        actions: vec!["use".to_owned()],
        path: ENCRYPT.into(),
        principal: format!("k8s:bench/{namespace}/{account}"),
        idempotency_key: String::new(),
        require: Vec::new(),
    };
    officer.grants().create_grant(request).await?;
    Ok(())
}

impl Side for Coffer {
    fn process(&self) -> u32 {
        self.process
    }

    fn target(&self) -> &Target {
        &self.target
    }

    fn load(&self, work: Work, scene: &Scene) -> Result<Load> {
        let keys = scene.read_keys;
        let requests: Requests = match work {
            Work::Read => {
                let grpc = self.grpc("KvService/GetSecret");
                let read = move |number| {
                    grpc(&GetSecretRequest { path: format!("kv/read/{}", number % keys), version: 0 }.encode_to_vec())
                };
                Arc::new(read)
            }
            Work::Write => self.put("write", scene.write_keys),
            Work::Login => {
                let grpc = self.grpc("AuthService/LoginWorkload");
                let request =
                    LoginWorkloadRequest { tenant: String::new(), cluster: "bench".into(), token: scene.token(JWT_ACCOUNT)? };
                let message = request.encode_to_vec();
                Arc::new(move |_| grpc(&message))
            }
            Work::List => {
                let grpc = self.grpc("KvService/ListSecrets");
                let pages = self.pages.clone();
                let count = u64::try_from(pages.len())?;
                let list = move |number: u64| {
                    let page_token = pages.iter().cycle().nth(usize::try_from(number % count).unwrap_or(0)).cloned();
                    let page_token = page_token.unwrap_or_default();
                    grpc(&ListSecretsRequest { path: "kv/list".into(), page_size: PAGE_SIZE, page_token }.encode_to_vec())
                };
                return Ok(Load { each: count, ..Load::from(Arc::new(list) as Requests) });
            }
            Work::Pki => self.certificates("stored"),
            Work::PkiUnstored => self.certificates("unstored"),
            Work::Database => {
                let grpc = self.grpc("LeaseService/IssueCredential");
                let message =
                    IssueCredentialRequest { path: DATABASE.into(), ..IssueCredentialRequest::default() }.encode_to_vec();
                Arc::new(move |_| grpc(&message))
            }
            Work::Transit => {
                let grpc = self.grpc("TransitService/Encrypt");
                let encrypt = move |number| {
                    let item = EncryptItem { plaintext: value(number), ..EncryptItem::default() };
                    grpc(&EncryptRequest { path: ENCRYPT.into(), items: vec![item] }.encode_to_vec())
                };
                Arc::new(encrypt)
            }
        };
        Ok(Load { then: (work == Work::Database).then(|| self.end()), ..Load::from(requests) })
    }
}
