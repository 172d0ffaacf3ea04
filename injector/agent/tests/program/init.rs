//! `coffer-agent init`, and `probe` after it.

use std::fs;

use tonic::Code;

use crate::world::World;

const SECRETS: &str = r#"
[[secrets]]
name = "payments.json"
path = "kv/prod/payments"

[[secrets]]
name = "url"
paths = { db = "kv/prod/payments", host = "kv/prod/host" }
template = "postgres://{{ db.user }}:{{ db.password }}@{{ host.name }}/\n"
"#;

async fn world() -> World {
    let world = World::new(SECRETS).await;
    world.small.put("kv/prod/payments", &[("user", "app"), ("password", "s3cr3t-canary")]);
    world.small.put("kv/prod/host", &[("name", "db.example")]);
    world
}

#[tokio::test]
async fn files_are_written_once_and_the_probe_sees_them() {
    let world = world().await;
    let before = world.run("probe", &[]).await;
    assert_eq!(before.code, Some(6), "{before:?}");
    assert!(before.log.contains("coffer-agent: not ready: not written yet: payments.json, url"), "{before:?}");

    let init = world.run("init", &[]).await;
    assert_eq!(init.code, Some(0), "{init:?}");
    assert!(world.has("payments.json", r#"{"password":"s3cr3t-canary","user":"app"}"#));
    assert!(world.has("url", "postgres://app:s3cr3t-canary@db.example/\n"));
    assert_eq!(world.small.state().count("KvService/GetSecret"), 2, "a secret of two files is read once");
    assert_eq!(world.run("probe", &[]).await.code, Some(0));
}

#[tokio::test]
async fn the_log_has_no_value_and_no_token_even_at_trace() {
    let world = world().await;
    let init = world.run("init", &[]).await;
    assert_eq!(init.code, Some(0), "{init:?}");
    for canary in ["s3cr3t-canary", "token-1", "session-1", "czNjcjN0"] {
        assert!(!init.log.contains(canary), "{canary} is in the log:\n{}", init.log);
    }
    assert!(init.log.contains("TRACE"), "the log is not at trace: {}", init.log);
}

#[tokio::test]
async fn everything_that_is_not_permitted_is_named_at_once_with_the_command_that_permits_it() {
    let world = World::new(SECRETS).await;
    let init = world.run("init", &[]).await;
    assert_eq!(init.code, Some(4), "{init:?}");
    for path in ["kv/prod/payments", "kv/prod/host"] {
        let line = format!(
            "coffer-agent: {path}: not permitted for this pod, or not there. An officer can allow it: coffer grant read \
             {path} --to k8s:prod/payments/api\n"
        );
        assert!(init.log.contains(&line), "{}", init.log);
    }
    assert_eq!(fs::read_dir(world.output.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_refused_login_ends_init_at_once() {
    let world = world().await;
    world.small.state().login_fault = Some((Code::Unauthenticated, "LOGIN_REFUSED"));
    let init = world.run("init", &[]).await;
    assert_eq!(init.code, Some(4), "{init:?}");
    assert!(init.log.contains("coffer-agent: the vault refused the login of this pod"), "{}", init.log);
    assert_eq!(world.small.state().count("AuthService/LoginWorkload"), 1);
}

#[tokio::test]
async fn a_sealed_vault_is_waited_for() {
    let world = world().await;
    world.small.state().fault = Some((Code::FailedPrecondition, "SEALED"));
    let mut init = world.start("init", &[]);
    init.until_logged("refused: SEALED (SEALED, request req-1)").await;
    world.small.state().fault = None;
    let init = init.ended().await;
    assert_eq!(init.code, Some(0), "{init:?}");
    assert!(world.has("url", "postgres://app:s3cr3t-canary@db.example/\n"));
}

#[tokio::test]
async fn a_vault_that_stays_away_is_given_up_at_the_deadline() {
    let mut world = world().await;
    world.stop_vault().await;
    let init = world.run("init", &["--deadline", "1500ms"]).await;
    assert_eq!(init.code, Some(3), "{init:?}");
    assert!(init.log.contains("coffer-agent: the vault was not available within 1s 500ms: https://127.0.0.1:"), "{}", init.log);
}

#[tokio::test]
async fn a_vault_that_is_silent_is_given_up_at_the_deadline() {
    let world = world().await;
    world.small.state().silent = true;
    let init = world.run("init", &["--deadline", "1s"]).await;
    assert_eq!(init.code, Some(3), "{init:?}");
}

#[tokio::test]
async fn nothing_is_asked_for_and_written_where_there_is_no_tmpfs() {
    let world = world().await;
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let init = world.run("init", &["--directory", disk.path().to_str().unwrap()]).await;
    assert_eq!(init.code, Some(5), "{init:?}");
    assert!(init.log.contains("not on tmpfs") && init.log.contains("emptyDir: {medium: Memory"), "{}", init.log);
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 0);
    assert_eq!(world.small.state().calls, Vec::<String>::new());
}

#[tokio::test]
async fn faults_of_the_configuration_end_it_before_anything_is_asked_for() {
    let world = world().await;
    world.configure("[[secrets]]\nname = \"x\"\npath = \"kv/a\"\ncolour = \"red\"\n");
    let init = world.run("init", &[]).await;
    assert_eq!(init.code, Some(2), "{init:?}");
    assert!(init.log.contains("agent.toml:13: unknown field `colour`"), "{}", init.log);
    assert_eq!(world.run("init", &["--no-such-flag"]).await.code, Some(2));
    assert_eq!(world.small.state().calls, Vec::<String>::new());
}

#[tokio::test]
async fn a_field_that_is_not_there_is_named() {
    let world = world().await;
    world.configure("[[secrets]]\nname = \"x\"\npath = \"kv/prod/payments\"\nfield = \"pass\"\n");
    let init = world.run("init", &[]).await;
    assert_eq!(init.code, Some(2), "{init:?}");
    assert!(init.log.contains("x: kv/prod/payments: there is no field \"pass\"; there are: password, user"), "{}", init.log);
    assert!(!init.log.contains("s3cr3t-canary"), "{}", init.log);
}

#[tokio::test]
async fn a_token_file_that_is_not_there_is_named() {
    let world = world().await;
    fs::remove_file(world.folder.path().join("token")).unwrap();
    let init = world.run("init", &[]).await;
    assert_eq!(init.code, Some(2), "{init:?}");
    assert!(init.log.contains("the service-account token "), "{}", init.log);
}

#[tokio::test]
async fn init_that_is_stopped_says_so() {
    let mut world = world().await;
    world.stop_vault().await;
    let mut init = world.start("init", &[]);
    init.until_logged("cannot be reached").await;
    let init = init.stop().await;
    assert_eq!(init.code, Some(3), "{init:?}");
    assert!(init.log.contains("coffer-agent: stopped by SIGTERM before all files were written"), "{}", init.log);
}
