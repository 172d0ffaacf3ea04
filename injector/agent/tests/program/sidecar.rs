//! `coffer-agent sidecar` while things change.

use std::{fs, time::Duration};

use coffer_client::proto::WatchEvent;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::Instant,
};
use tonic::Code;

use crate::world::{Application, Running, World};

const SECRETS: &str = "\n[[secrets]]\nname = \"a\"\npath = \"kv/a\"\nfield = \"v\"\n\
                       [[secrets]]\nname = \"b\"\npath = \"kv/b\"\nfield = \"v\"\n";

/// A sidecar that wrote its files and follows changes.
async fn following(more: &str) -> (World, Running) {
    let world = World::new(&format!("{SECRETS}{more}")).await;
    world.small.put("kv/a", &[("v", "a1")]);
    world.small.put("kv/b", &[("v", "b1")]);
    let mut sidecar = world.start("sidecar", &[]);
    sidecar.until("the files are there", || world.has("a", "a1") && world.has("b", "b1")).await;
    sidecar.until("changes are followed", || world.small.watches() == 1).await;
    (world, sidecar)
}

#[tokio::test]
async fn a_change_reaches_the_file_within_a_second() {
    let (world, mut sidecar) = following("").await;
    for version in 2..7 {
        let value = format!("a{version}");
        world.small.put("kv/a", &[("v", &value)]);
        let began = Instant::now();
        sidecar.until("the file follows", || world.has("a", &value)).await;
        assert!(began.elapsed() < Duration::from_secs(1), "it took {:?}", began.elapsed());
    }
    assert!(world.has("b", "b1"));
    let ended = sidecar.stop().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(world.has("a", "a6"), "the files stay when the sidecar is stopped");
}

#[tokio::test]
async fn many_changes_at_once_are_few_swaps_and_the_last_value() {
    let application = Application::start().await;
    let (world, mut sidecar) = following(&format!("[notify]\nhttp = \"{}\"\n", application.url())).await;
    assert_eq!(application.calls(), 0, "the first write is nothing to tell");
    for version in 2..52 {
        world.small.put("kv/a", &[("v", &format!("a{version}"))]);
    }
    sidecar.until("the file follows", || world.has("a", "a51")).await;
    sidecar.until("the application is told", || application.calls() >= 1).await;
    assert!(application.calls() <= 3, "{} calls for one burst", application.calls());
}

#[tokio::test]
async fn the_application_is_told_of_the_first_write_where_it_wants_to() {
    let application = Application::start().await;
    let (_world, mut sidecar) = following(&format!("[notify]\nhttp = \"{}\"\non_start = true\n", application.url())).await;
    sidecar.until("the application is told", || application.calls() == 1).await;
}

#[tokio::test]
async fn an_application_that_cannot_be_told_is_logged_and_no_more() {
    let (world, mut sidecar) = following("[notify]\nsignal = \"SIGHUP\"\nprocess = \"coffer-no-such\"\n").await;
    world.small.put("kv/a", &[("v", "a2")]);
    sidecar.until_logged("the application was not told: no process named \"coffer-no-such\"").await;
    world.small.put("kv/a", &[("v", "a3")]);
    sidecar.until("the file follows", || world.has("a", "a3")).await;
}

#[tokio::test]
async fn what_is_withdrawn_keeps_its_last_value_and_the_rest_goes_on() {
    let (world, mut sidecar) = following("").await;
    world.small.withdraw("kv/a");
    sidecar.until_logged("gone, or not permitted any longer").await;
    world.small.put("kv/b", &[("v", "b2")]);
    sidecar.until("the other file follows", || world.has("b", "b2")).await;
    assert!(world.has("a", "a1"));
    world.small.put("kv/a", &[("v", "back")]);
    world.small.put("kv/a", &[("v", "back2")]);
    sidecar.until("it follows again", || world.has("a", "back2")).await;
}

#[tokio::test]
async fn the_files_outlive_the_vault_and_follow_it_when_it_is_back() {
    let (mut world, mut sidecar) = following("").await;
    let data = world.data();
    world.stop_vault().await;
    sidecar.until_logged("changes are not followed: ").await;
    assert!(world.has("a", "a1") && world.has("b", "b1"));
    assert_eq!(world.data(), data);
    // Changed while nobody could tell.
    world.small.put("kv/b", &[("v", "b2")]);
    let reads = world.small.state().count("KvService/GetSecret");
    world.start_vault().await;
    sidecar.until("the file follows", || world.has("b", "b2")).await;
    assert_eq!(world.small.state().count("KvService/GetSecret"), reads + 1, "only what changed is read");
}

#[tokio::test]
async fn a_sealed_vault_is_an_outage_like_any_other() {
    let (world, mut sidecar) = following("").await;
    world.small.state().fault = Some((Code::FailedPrecondition, "SEALED"));
    world.small.end_session();
    sidecar.until_logged("SEALED").await;
    assert!(world.has("a", "a1"));
    world.small.state().fault = None;
    world.small.put("kv/a", &[("v", "a2")]);
    sidecar.until("the file follows", || world.has("a", "a2")).await;
}

#[tokio::test]
async fn where_changes_cannot_be_followed_they_are_asked_for() {
    let world = World::new(&format!("{SECRETS}[sidecar]\npoll = \"10s\"\n")).await;
    world.small.put("kv/a", &[("v", "a1")]);
    world.small.put("kv/b", &[("v", "b1")]);
    world.small.state().watch_fault = Some((Code::Unimplemented, "INTERNAL"));
    let mut sidecar = world.start("sidecar", &[]);
    sidecar.until_logged("changes are not followed: ").await;
    world.small.put("kv/a", &[("v", "a2")]);
    sidecar.until("the file follows", || world.has("a", "a2")).await;
}

#[tokio::test]
async fn an_ended_session_is_replaced_with_the_token_of_now() {
    let (world, mut sidecar) = following("").await;
    world.set_token("token-2");
    world.small.end_session();
    sidecar.until("there is a new login", || world.small.state().logins.len() == 2).await;
    assert_eq!(world.small.state().logins, ["token-1", "token-2"]);
    sidecar.until("changes are followed again", || world.small.watches() == 1).await;
    world.small.put("kv/a", &[("v", "a2")]);
    sidecar.until("the file follows", || world.has("a", "a2")).await;
}

#[tokio::test]
async fn a_resync_reads_everything_and_touches_nothing_that_is_so_already() {
    let (world, mut sidecar) = following("").await;
    let (data, reads) = (world.data(), world.small.state().count("KvService/GetSecret"));
    world.small.tell(WatchEvent::Resync);
    sidecar.until("all is read again", || world.small.state().count("KvService/GetSecret") == reads + 2).await;
    sidecar.until_logged("the files are so already").await;
    assert_eq!(world.data(), data);
}

#[tokio::test]
async fn a_value_that_no_file_can_be_made_of_leaves_the_last_good_ones() {
    let (world, mut sidecar) = following("").await;
    world.small.put("kv/a", &[("other", "x")]);
    sidecar.until_logged("the files stay as they were: a: kv/a: there is no field \"v\"; there are: other").await;
    assert!(world.has("a", "a1"));
    world.small.put("kv/a", &[("v", "a3")]);
    sidecar.until("the next good one is written", || world.has("a", "a3")).await;
}

#[tokio::test]
async fn files_that_cannot_be_written_now_are_written_later() {
    let (world, mut sidecar) = following("").await;
    let link = world.output.path().join("a");
    fs::remove_file(&link).unwrap();
    fs::write(&link, "somebody's").unwrap();
    world.small.put("kv/b", &[("v", "b2")]);
    sidecar.until_logged("/a is in the way").await;
    assert!(world.has("b", "b1"));
    fs::remove_file(&link).unwrap();
    sidecar.until("the files are written", || world.has("a", "a1") && world.has("b", "b2")).await;
}

#[tokio::test]
async fn a_restarted_sidecar_touches_nothing_that_is_so_already() {
    let (world, sidecar) = following("").await;
    let data = world.data();
    drop(sidecar);
    let mut again = world.start("sidecar", &[]);
    again.until_logged("following changes").await;
    assert_eq!(world.data(), data);
}

#[tokio::test]
async fn a_restarted_sidecar_without_a_vault_leaves_the_files_and_follows_later() {
    let (mut world, sidecar) = following("").await;
    drop(sidecar);
    world.stop_vault().await;
    let mut again = world.start("sidecar", &[]);
    again.until_logged("the files that are there already stay in use").await;
    assert!(world.has("a", "a1"));
    world.start_vault().await;
    world.small.put("kv/a", &[("v", "a2")]);
    again.until("the file follows", || world.has("a", "a2")).await;
}

#[tokio::test]
async fn a_restarted_sidecar_that_is_refused_leaves_the_files_and_follows_the_rest() {
    let (world, sidecar) = following("").await;
    drop(sidecar);
    world.small.withdraw("kv/a");
    let mut again = world.start("sidecar", &[]);
    again.until_logged("coffer grant read kv/a --to k8s:prod/payments/api").await;
    world.small.put("kv/b", &[("v", "b2")]);
    again.until("the other file follows", || world.has("b", "b2")).await;
    assert!(world.has("a", "a1"));
}

#[tokio::test]
async fn a_first_start_that_is_refused_ends_with_the_reason() {
    let world = World::new(SECRETS).await;
    let ended = world.run("sidecar", &[]).await;
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(ended.log.contains("coffer-agent: kv/a: not permitted for this pod, or not there."), "{}", ended.log);
}

#[tokio::test]
async fn a_first_start_without_a_vault_waits_for_it() {
    let mut world = World::new(SECRETS).await;
    world.small.put("kv/a", &[("v", "a1")]);
    world.small.put("kv/b", &[("v", "b1")]);
    world.stop_vault().await;
    let mut sidecar = world.start("sidecar", &[]);
    sidecar.until_logged("cannot be reached").await;
    assert_eq!(world.run_probe().await, Some(6));
    world.start_vault().await;
    sidecar.until("the files are there", || world.has("b", "b1")).await;
    assert_eq!(world.run_probe().await, Some(0));
}

#[tokio::test]
async fn probes_over_http_follow_the_first_write() {
    let mut world = World::new(&format!("{SECRETS}[sidecar]\nprobe_listen = \"127.0.0.1:0\"\n")).await;
    world.small.put("kv/a", &[("v", "a1")]);
    world.small.put("kv/b", &[("v", "b1")]);
    world.stop_vault().await;
    let mut sidecar = world.start("sidecar", &[]);
    sidecar.until_logged("answering probes").await;
    let log = sidecar.log();
    let address = log.split("answering probes on ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    assert!(probe(&address).await.starts_with("HTTP/1.1 503 "));
    world.start_vault().await;
    sidecar.until("the files are there", || world.has("b", "b1")).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    while !probe(&address).await.starts_with("HTTP/1.1 200 ") {
        assert!(Instant::now() < deadline, "the probe never turns good");
    }
}

async fn probe(address: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_fixed_version_stays_what_it_is_and_is_taken_away_as_any_other() {
    let world = World::new("\n[[secrets]]\nname = \"a\"\npath = \"kv/a\"\nversion = 1\nfield = \"v\"\n").await;
    world.small.put("kv/a", &[("v", "a1")]);
    let mut sidecar = world.start("sidecar", &[]);
    sidecar.until("it is followed", || world.small.watches() == 1).await;
    let reads = world.small.state().count("KvService/GetSecret");
    world.small.put("kv/a", &[("v", "a2")]);
    world.small.withhold("kv/a");
    sidecar.until("the file is gone", || !world.is_there("a")).await;
    assert_eq!(world.small.state().count("KvService/GetSecret"), reads, "another version is nothing new");
}

#[tokio::test]
async fn what_is_withheld_is_removed_and_comes_back_when_its_conditions_hold() {
    let (world, mut sidecar) = following("").await;
    world.small.withhold("kv/a");
    sidecar.until("the file is gone", || !world.is_there("a")).await;
    sidecar.until_logged("the conditions do not hold on which it is given: its files are removed").await;
    assert!(world.has("b", "b1"), "what is not withheld stays");
    world.small.put("kv/b", &[("v", "b2")]);
    sidecar.until("the rest follows", || world.has("b", "b2") && !world.is_there("a")).await;
    world.small.put("kv/a", &[("v", "a2")]);
    sidecar.until("it is back", || world.has("a", "a2")).await;
}

#[tokio::test]
async fn what_was_withheld_meanwhile_is_removed_by_a_sidecar_that_starts() {
    let (world, sidecar) = following("").await;
    drop(sidecar);
    world.small.withhold("kv/a");
    let mut again = world.start("sidecar", &[]);
    again.until("the file is gone", || !world.is_there("a")).await;
    assert!(world.has("b", "b1"));
}
