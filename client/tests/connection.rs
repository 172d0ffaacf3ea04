//! What a client does when the other end is not what it should be.

#[cfg(test)]
#[path = "vault/mod.rs"]
mod vault;

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::PathBuf,
        sync::{
            Arc, Mutex,
            atomic::{AtomicU32, Ordering},
        },
        time::Duration,
    };

    use coffer_client::{Blame, Client, Error, Event, Identity, Options, SessionKeeper, WorkloadLogin, proto as v1};
    use coffer_secret::SecretString;
    use prost::Message as _;
    use rustls::version::TLS12;
    use rustls_pki_types::{CertificateDer, pem::PemObject as _};
    use tempfile::TempDir;
    use tokio::time::{Instant, timeout};
    use tonic::{Code, Status};

    use super::vault::{
        Answer, Authority, Call, NAME, Vault, bundle,
        script::{Small, refusal},
        start_unix,
    };

    fn options(vault: &Vault, ca: PathBuf) -> Options {
        let mut options = Options::new(vault.endpoint(), Identity::generate().unwrap());
        options.ca = Some(ca);
        options.server_name = Some(NAME.to_owned());
        options
    }

    fn client(vault: &Vault, ca: PathBuf) -> Client {
        Client::connect(options(vault, ca)).unwrap()
    }

    fn sealed(_: Call) -> Answer {
        Answer::Refusal(refusal(Code::FailedPrecondition, "SEALED"))
    }

    async fn status(client: &Client) -> Result<(), Error> {
        Ok(client.system().get_seal_status(v1::GetSealStatusRequest {}).await.map(drop)?)
    }

    /// A client of a small vault, kept logged in with a token from a file.
    async fn keeper(folder: &TempDir, small: &Small) -> (Vault, SessionKeeper) {
        let authority = Authority::new();
        let vault = Vault::start(&authority, small.script()).await;
        let client = client(&vault, bundle(folder.path(), &[&authority]));
        let token_file = folder.path().join("token");
        fs::write(&token_file, "token-1").unwrap();
        let login = WorkloadLogin { tenant: String::new(), cluster: "prod".to_owned(), token_file };
        (vault, SessionKeeper::new(client, login))
    }

    #[tokio::test]
    async fn a_vault_of_another_ca_is_not_trusted_and_gets_no_request() {
        let (folder, own, other) = (TempDir::new().unwrap(), Authority::new(), Authority::new());
        let calls = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&calls);
        let script = move |call| {
            counter.fetch_add(1, Ordering::Relaxed);
            sealed(call)
        };
        let vault = Vault::start(&own, script).await;
        let error = status(&client(&vault, bundle(folder.path(), &[&other]))).await.unwrap_err();
        assert_eq!(error.blame(), Blame::Untrusted, "{error}");
        assert!(error.to_string().contains("ca.pem"), "{error}");
        assert_eq!(calls.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_bundle_that_changes_is_read_again() {
        let (folder, own, other) = (TempDir::new().unwrap(), Authority::new(), Authority::new());
        let vault = Vault::start(&own, sealed).await;
        let client = client(&vault, bundle(folder.path(), &[&other]));
        assert_eq!(status(&client).await.unwrap_err().blame(), Blame::Untrusted);
        bundle(folder.path(), &[&other, &own]);
        assert_eq!(status(&client).await.unwrap_err().blame(), Blame::Sealed);
    }

    #[tokio::test]
    async fn a_bundle_without_a_certificate_or_not_there_is_named() {
        let (folder, own) = (TempDir::new().unwrap(), Authority::new());
        let vault = Vault::start(&own, sealed).await;
        let client = client(&vault, bundle(folder.path(), &[]));
        let error = status(&client).await.unwrap_err();
        assert_eq!((error.blame(), error.to_string().contains("has no certificate in it")), (Blame::Config, true), "{error}");
        fs::remove_file(folder.path().join("ca.pem")).unwrap();
        assert_eq!(status(&client).await.unwrap_err().blame(), Blame::Config);
    }

    #[tokio::test]
    async fn a_certificate_for_another_name_is_not_trusted() {
        let (folder, own) = (TempDir::new().unwrap(), Authority::new());
        let vault = Vault::start(&own, sealed).await;
        let mut options = options(&vault, bundle(folder.path(), &[&own]));
        options.server_name = Some("other.test".to_owned());
        let error = status(&Client::connect(options.clone()).unwrap()).await.unwrap_err();
        assert_eq!(error.blame(), Blame::Untrusted, "{error}");
        // The address itself, which is in no certificate either.
        options.server_name = None;
        assert_eq!(status(&Client::connect(options).unwrap()).await.unwrap_err().blame(), Blame::Untrusted);
    }

    #[tokio::test]
    async fn older_tls_is_not_spoken() {
        let (folder, own) = (TempDir::new().unwrap(), Authority::new());
        let vault = Vault::start_at("127.0.0.1:0".parse().unwrap(), &own, &[&TLS12], sealed).await;
        let error = status(&client(&vault, bundle(folder.path(), &[&own]))).await.unwrap_err();
        assert_eq!(error.blame(), Blame::Unavailable, "{error}");
    }

    #[tokio::test]
    async fn the_vault_sees_the_clients_certificate() {
        let (folder, own) = (TempDir::new().unwrap(), Authority::new());
        let seen = Arc::new(Mutex::new(None));
        let keep = Arc::clone(&seen);
        let vault = Vault::start(&own, move |call| {
            *keep.lock().unwrap() = call.certificate.clone();
            sealed(call)
        })
        .await;
        let options = options(&vault, bundle(folder.path(), &[&own]));
        let pem = options.identity.to_pem();
        drop(status(&Client::connect(options).unwrap()).await);
        let own = CertificateDer::from_pem_slice(pem.expose().as_bytes()).unwrap();
        assert_eq!(seen.lock().unwrap().as_deref(), Some(own.as_ref()));
    }

    #[tokio::test]
    async fn nobody_there_is_told_at_once_and_may_be_tried_again() {
        let (folder, own) = (TempDir::new().unwrap(), Authority::new());
        let vault = Vault::start(&own, sealed).await;
        let client = client(&vault, bundle(folder.path(), &[&own]));
        let address = vault.address;
        vault.stop().await;
        let began = Instant::now();
        let error = status(&client).await.unwrap_err();
        assert_eq!((error.blame(), error.reason(), error.retryable()), (Blame::Unavailable, "UNREACHABLE", true), "{error}");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        assert!(began.elapsed() < Duration::from_secs(3));
    }

    #[tokio::test]
    async fn a_connection_that_broke_is_made_again() {
        let (folder, own) = (TempDir::new().unwrap(), Authority::new());
        let vault = Vault::start(&own, sealed).await;
        let client = client(&vault, bundle(folder.path(), &[&own]));
        assert_eq!(status(&client).await.unwrap_err().blame(), Blame::Sealed);
        let address = vault.address;
        vault.stop().await;
        let _vault = Vault::start_at(address, &own, &[&rustls::version::TLS13], sealed).await;
        let again = async {
            while status(&client).await.unwrap_err().blame() != Blame::Sealed {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(20), again).await.expect("the client finds the vault again");
    }

    #[tokio::test]
    async fn an_answer_that_never_comes_or_never_ends_is_waited_for_no_longer_than_said() {
        let (folder, own) = (TempDir::new().unwrap(), Authority::new());
        let vault = Vault::start(&own, |call: Call| match call.method.as_str() {
            "SystemService/GetSealStatus" => Answer::Silence,
            _ => Answer::HeadersOnly,
        })
        .await;
        let mut options = options(&vault, bundle(folder.path(), &[&own]));
        options.call_timeout = Duration::from_millis(300);
        let client = Client::connect(options).unwrap();
        let began = Instant::now();
        let silent = status(&client).await.unwrap_err();
        assert_eq!((silent.reason(), silent.retryable()), ("DEADLINE_EXCEEDED", true), "{silent}");
        let half = client.kv_get("kv/a", 0).await.unwrap_err();
        assert_eq!(half.reason(), "DEADLINE_EXCEEDED", "{half}");
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    #[tokio::test]
    async fn requests_carry_session_request_id_and_deadline_and_logins_no_session() {
        let (folder, own) = (TempDir::new().unwrap(), Authority::new());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&seen);
        let vault = Vault::start(&own, move |call: Call| {
            keep.lock().unwrap().push(call.clone());
            sealed(call)
        })
        .await;
        let client = client(&vault, bundle(folder.path(), &[&own]));
        client.set_session_token(Some(SecretString::from("tok".to_owned())));
        drop(client.kv_get("kv/a", 0).await);
        drop(client.login_password("", "ada", &SecretString::from("pw".to_owned())).await);
        drop(client.watch(vec!["kv/a".to_owned()]).await);
        client.set_session_token(None);
        drop(client.kv_get("kv/a", 0).await);
        let seen = seen.lock().unwrap();
        let sessions: Vec<_> = seen.iter().map(|call| call.header("authorization")).collect();
        assert_eq!(sessions, [Some("Bearer tok"), None, Some("Bearer tok"), None]);
        let deadlines: Vec<_> = seen.iter().map(|call| call.header("grpc-timeout")).collect();
        assert_eq!(deadlines, [Some("15000m"), Some("15000m"), None, Some("15000m")]);
        let mut ids: Vec<_> = seen.iter().map(|call| call.header("coffer-request-id").unwrap()).collect();
        assert!(ids.iter().all(|id| id.len() == 32), "{ids:?}");
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 4);
    }

    #[tokio::test]
    async fn the_local_socket_needs_no_ca() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("vault.sock");
        let _tasks = start_unix(&path, sealed);
        let options = Options::new(format!("unix://{}", path.display()), Identity::generate().unwrap());
        assert_eq!(status(&Client::connect(options).unwrap()).await.unwrap_err().blame(), Blame::Sealed);
    }

    #[tokio::test]
    async fn https_without_a_ca_is_refused_before_anything_is_sent() {
        let options = Options::new("https://127.0.0.1:1", Identity::generate().unwrap());
        assert_eq!(Client::connect(options).unwrap_err().blame(), Blame::Config);
    }

    #[tokio::test]
    async fn a_keeper_logs_in_for_the_first_call_and_not_again() {
        let (folder, small) = (TempDir::new().unwrap(), Small::default());
        small.put("kv/a", &[("user", "app")]);
        let (_vault, keeper) = keeper(&folder, &small).await;
        let secret = keeper.kv_get("kv/a", 0).await.unwrap();
        assert_eq!((secret.version, secret.receipt), (1, 7));
        assert_eq!(secret.field("user").unwrap().expose(), b"app");
        keeper.kv_get("kv/a", 0).await.unwrap();
        assert_eq!(small.state().logins, ["token-1"]);
    }

    #[tokio::test]
    async fn a_session_that_holds_no_longer_is_replaced_with_the_token_of_now() {
        let (folder, small) = (TempDir::new().unwrap(), Small::default());
        small.put("kv/a", &[("user", "app")]);
        let (_vault, keeper) = keeper(&folder, &small).await;
        keeper.kv_get("kv/a", 0).await.unwrap();
        fs::write(folder.path().join("token"), "token-2").unwrap();
        small.end_session();
        let calls = (0..16).map(|_| keeper.kv_get("kv/a", 0));
        for call in calls.collect::<Vec<_>>() {
            call.await.unwrap();
        }
        assert_eq!(small.state().logins, ["token-1", "token-2"]);
    }

    #[tokio::test]
    async fn many_calls_at_once_with_a_dead_session_cause_one_login() {
        let (folder, small) = (TempDir::new().unwrap(), Small::default());
        small.put("kv/a", &[("user", "app")]);
        let (_vault, keeper) = keeper(&folder, &small).await;
        keeper.kv_get("kv/a", 0).await.unwrap();
        small.end_session();
        let (a, b, c) = tokio::join!(keeper.kv_get("kv/a", 0), keeper.kv_get("kv/a", 0), keeper.kv_get("kv/a", 0));
        assert!(a.is_ok() && b.is_ok() && c.is_ok());
        assert_eq!(small.state().logins.len(), 2);
    }

    #[tokio::test]
    async fn what_may_pass_is_tried_four_times_and_a_refusal_once() {
        let (folder, small) = (TempDir::new().unwrap(), Small::default());
        let (_vault, keeper) = keeper(&folder, &small).await;
        assert_eq!(keeper.kv_get("kv/a", 0).await.unwrap_err().blame(), Blame::Denied);
        assert_eq!(small.state().count("KvService/GetSecret"), 1);
        small.state().fault = Some((Code::Unavailable, "UNAVAILABLE"));
        assert_eq!(keeper.kv_get("kv/a", 0).await.unwrap_err().blame(), Blame::Unavailable);
        assert_eq!(small.state().count("KvService/GetSecret"), 5);
    }

    #[tokio::test]
    async fn a_refused_login_is_not_repeated() {
        let (folder, small) = (TempDir::new().unwrap(), Small::default());
        let (_vault, keeper) = keeper(&folder, &small).await;
        small.state().login_fault = Some((Code::Unauthenticated, "LOGIN_REFUSED"));
        assert_eq!(keeper.kv_get("kv/a", 0).await.unwrap_err().reason(), "LOGIN_REFUSED");
        assert_eq!(small.state().calls, ["AuthService/LoginWorkload"]);
    }

    #[tokio::test]
    async fn a_watch_tells_events_and_keeps_signs_of_life_to_itself() {
        let (folder, small) = (TempDir::new().unwrap(), Small::default());
        small.put("kv/a", &[("user", "app")]);
        let (_vault, keeper) = keeper(&folder, &small).await;
        let mut watch = keeper.watch(&["kv/a".to_owned(), "kv/b".to_owned()]).await.unwrap();
        let mut next = async || watch.next().await.unwrap();
        assert_eq!(next().await, Some(Event::Changed { path: "kv/a".to_owned(), version: 1 }));
        assert_eq!(next().await, Some(Event::Unavailable { path: "kv/b".to_owned() }));
        small.tell(v1::WatchEvent::Keepalive);
        small.put("kv/a", &[("user", "new")]);
        assert_eq!(next().await, Some(Event::Changed { path: "kv/a".to_owned(), version: 2 }));
        small.withhold("kv/a");
        assert_eq!(next().await, Some(Event::Withheld { path: "kv/a".to_owned() }));
        small.withdraw("kv/a");
        assert_eq!(next().await, Some(Event::Unavailable { path: "kv/a".to_owned() }));
        small.tell(v1::WatchEvent::Resync);
        assert_eq!(next().await, Some(Event::Resync));
        small.end_session();
        assert_eq!(next().await, Some(Event::SessionEnd));
        assert_eq!(next().await, None);
    }

    #[tokio::test]
    async fn a_watch_that_is_dropped_ends_at_the_vault() {
        let (folder, small) = (TempDir::new().unwrap(), Small::default());
        let (_vault, keeper) = keeper(&folder, &small).await;
        let watch = keeper.watch(&["kv/a".to_owned()]).await.unwrap();
        assert_eq!(small.watches(), 1);
        drop(watch);
        let ended = async {
            while small.watches() > 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), ended).await.expect("the vault sees the end");
    }

    #[tokio::test]
    async fn a_watch_that_falls_silent_is_dead() {
        let (folder, small) = (TempDir::new().unwrap(), Small::default());
        small.put("kv/a", &[("user", "app")]);
        let (_vault, keeper) = keeper(&folder, &small).await;
        let mut watch = keeper.watch(&["kv/a".to_owned()]).await.unwrap();
        watch.next().await.unwrap();
        // From here on the clock runs ahead whenever everybody waits.
        tokio::time::pause();
        assert_eq!(watch.next().await.unwrap_err().blame(), Blame::Unavailable);
    }

    #[tokio::test]
    async fn a_watch_has_one_to_128_paths() {
        let (folder, small) = (TempDir::new().unwrap(), Small::default());
        let (_vault, keeper) = keeper(&folder, &small).await;
        let paths = |count: usize| vec!["kv/a".to_owned(); count];
        for count in [0, 129] {
            assert_eq!(keeper.watch(&paths(count)).await.unwrap_err().blame(), Blame::Config, "{count}");
        }
        keeper.watch(&paths(128)).await.unwrap();
    }

    #[tokio::test]
    async fn an_answer_that_breaks_the_protocol_is_the_servers_fault() {
        let (folder, own) = (TempDir::new().unwrap(), Authority::new());
        let vault = Vault::start(&own, |call: Call| match call.method.as_str() {
            "KvService/GetSecret" => Answer::Message(v1::GetSecretResponse::default().encode_to_vec()),
            _ => Answer::Refusal(Status::internal("boom")),
        })
        .await;
        let client = client(&vault, bundle(folder.path(), &[&own]));
        assert_eq!(client.kv_get("kv/a", 0).await.unwrap_err().blame(), Blame::Server);
        assert_eq!(status(&client).await.unwrap_err().blame(), Blame::Server);
    }
}
