use std::{
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    process::{Child, Command, Stdio},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

/// Answers one connection after the other with these answers; gives the requests.
async fn answer(listener: TcpListener, answers: &[&str]) -> Vec<String> {
    let mut requests = Vec::new();
    for answer in answers {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).await.unwrap();
            request.extend_from_slice(&byte);
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        requests.push(String::from_utf8(request).unwrap());
    }
    requests
}

const OK: &str = "HTTP/1.1 204 No Content\r\n\r\n";
const BAD: &str = "HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n";

async fn call(answers: &[&str]) -> (Result<(), NotifyError>, Vec<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/reload?x=1", listener.local_addr().unwrap());
    let action = Action::http(&url).unwrap();
    tokio::join!(action.run(), answer(listener, answers))
}

#[tokio::test]
async fn the_application_gets_a_post_without_content() {
    let (result, requests) = call(&[OK]).await;
    result.unwrap();
    assert!(requests[0].starts_with("POST /reload?x=1 HTTP/1.1\r\n"), "{requests:?}");
    assert!(requests[0].contains("host: 127.0.0.1:"), "{requests:?}");
    assert!(requests[0].contains("content-length: 0"), "{requests:?}");
}

#[tokio::test]
async fn a_call_that_fails_is_made_once_more() {
    let (result, requests) = call(&[BAD, OK]).await;
    result.unwrap();
    assert_eq!(requests.len(), 2);
    let (result, _) = call(&[BAD, BAD]).await;
    assert!(result.unwrap_err().to_string().contains("answered 500"));
}

#[tokio::test]
async fn an_application_that_is_not_there_is_an_error_and_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let message = Action::http(&url).unwrap().run().await.unwrap_err().to_string();
    assert!(message.starts_with("http://127.0.0.1:"), "{message}");
}

#[test]
fn only_plain_http_to_the_own_loopback_is_possible() {
    for url in ["http://127.0.0.1/x", "http://localhost:8080/", "http://[::1]:1/"] {
        assert!(Action::http(url).is_ok(), "{url}");
    }
    for url in ["https://127.0.0.1/", "http://example.com/", "http://10.0.0.1/", "http://user@127.0.0.1/", "/x", ""] {
        assert!(Action::http(url).is_err(), "{url}");
    }
}

/// A shell under another name, which says when it is there and what signal it got.
fn program(name: &str, script: &str) -> (tempfile::TempDir, Child, BufReader<std::process::ChildStdout>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::copy("/bin/sh", &path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let mut child = Command::new(&path).args(["-c", script]).stdout(Stdio::piped()).stdin(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    assert_eq!(line(&mut out), "ready");
    (folder, child, out)
}

fn line(out: &mut impl std::io::BufRead) -> String {
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    line.trim().to_owned()
}

const TELL: &str = "trap 'echo got; exit 0' USR1; echo ready; while read -r line; do :; done; exit 1";

#[tokio::test]
async fn a_signal_reaches_the_program_by_its_name() {
    let (_folder, mut child, mut out) = program("coffer-sig-one", TELL);
    Action::signal("SIGUSR1", "coffer-sig-one").unwrap().run().await.unwrap();
    // dash runs the trap when `read` ends; closing its input ends it.
    drop(child.stdin.take());
    assert_eq!(line(&mut out), "got");
    assert!(child.wait().unwrap().success());
}

#[tokio::test]
async fn of_a_server_and_its_workers_the_server_gets_the_signal() {
    let script = "trap 'echo got-it; exit 0' USR1; \"$0\" -c 'trap \"echo worker-got-it\" USR1; read -r line' <&0 & \
                  echo ready; while read -r line; do :; done; wait; exit 1";
    let (folder, mut child, mut out) = program("coffer-sig-two", script);
    drop(folder);
    Action::signal("SIGUSR1", "coffer-sig-two").unwrap().run().await.unwrap();
    drop(child.stdin.take());
    assert_eq!(line(&mut out), "got-it");
    assert!(child.wait().unwrap().success());
    let rest: Vec<_> = out.lines().map(Result::unwrap).collect();
    assert_eq!(rest, Vec::<String>::new());
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let message = Action::signal("SIGHUP", "coffer-sig-none").unwrap().run().await.unwrap_err().to_string();
    assert!(message.contains("coffer-sig-none") && message.contains("shareProcessNamespace"), "{message}");
}

#[test]
fn signals_that_could_not_be_answered_are_refused() {
    assert!(Action::signal("SIGKILL", "x").is_err());
    assert!(Action::signal("HUP", "x").is_err());
    assert!(Action::signal("SIGHUP", "/usr/bin/x").is_err());
    assert!(Action::signal("SIGHUP", "").is_err());
}
