//! Pods as they come and go.

use coffer_kubernetes::{CacheStatus, Known, PodState};

use super::fixture::{Fixture, deadline, gone, proxy, until};

#[tokio::test]
#[ignore = "needs a cluster: tests/run starts one"]
async fn a_pod_is_known_from_its_creation_to_its_deletion() {
    let fixture = Fixture::new().await;
    let before = fixture.pod("before", None).await;
    let cache = fixture.synced(None).await;
    let mut events = cache.subscribe();
    assert!(matches!(cache.pod(&before), PodState::Alive { .. }), "it was in the list");
    assert_eq!(cache.pod("00000000-0000-0000-0000-000000000000"), PodState::Unseen);

    let uid = fixture.pod("runs", Some(&["sleep", "600"])).await;
    let PodState::Alive { namespace, name, service_account, .. } = cache.wait_for(&uid, deadline()).await else {
        panic!("not seen alive")
    };
    assert_eq!((namespace.as_str(), name.as_str(), service_account.as_str()), (fixture.name.as_str(), "runs", "app"));
    until(
        "it has a node and an address",
        || matches!(cache.pod(&uid), PodState::Alive { node: Some(_), ips, .. } if !ips.is_empty()),
    )
    .await;

    fixture.delete_pod("runs").await;
    gone(&mut events, &uid).await;
    assert_eq!(cache.pod(&uid), PodState::Gone);
    assert!(matches!(cache.pod(&before), PodState::Alive { .. }));
    fixture.remove().await;
}

#[tokio::test]
#[ignore = "needs a cluster: tests/run starts one"]
async fn a_pod_that_has_run_its_course_is_gone() {
    let fixture = Fixture::new().await;
    let cache = fixture.synced(None).await;
    let mut events = cache.subscribe();
    for (name, command) in [("succeeds", "true"), ("fails", "false")] {
        let uid = fixture.pod(name, Some(&[command])).await;
        gone(&mut events, &uid).await;
        assert_eq!(cache.pod(&uid), PodState::Gone);
    }
    fixture.remove().await;
}

#[tokio::test]
#[ignore = "needs a cluster: tests/run starts one"]
async fn a_connection_that_breaks_misses_nothing() {
    let fixture = Fixture::new().await;
    let proxy = proxy(&fixture.url).await;
    let cache = fixture.synced(Some(&proxy.url)).await;
    let mut events = cache.subscribe();
    let (goes, stays) = (fixture.pod("goes", None).await, fixture.pod("stays", None).await);
    for uid in [&goes, &stays] {
        assert!(matches!(cache.wait_for(uid, deadline()).await, PodState::Alive { .. }));
    }
    proxy.open.send_replace(false);
    fixture.delete_pod("goes").await;
    let meanwhile = fixture.pod("meanwhile", None).await;
    assert!(matches!(cache.pod(&goes), PodState::Alive { .. }), "nothing was heard yet");
    proxy.open.send_replace(true);
    gone(&mut events, &goes).await;
    assert!(matches!(cache.wait_for(&meanwhile, deadline()).await, PodState::Alive { .. }));
    assert!(matches!(cache.pod(&stays), PodState::Alive { .. }));
    fixture.remove().await;
}

#[tokio::test]
#[ignore = "needs a cluster: tests/run starts one"]
async fn a_pod_that_was_deleted_before_a_restart_is_gone_after_it() {
    let fixture = Fixture::new().await;
    let first = fixture.synced(None).await;
    let (goes, stays) = (fixture.pod("goes", None).await, fixture.pod("stays", None).await);
    first.wait_for(&goes, deadline()).await;
    fixture.delete_pod("goes").await;
    let known = Known { cluster_uid: first.cluster_uid(), pods: vec![goes.clone(), stays.clone()] };
    assert!(known.cluster_uid.is_some());
    let second = fixture.watch(None, known).await;
    let mut events = second.subscribe();
    gone(&mut events, &goes).await;
    assert_eq!(second.pod(&goes), PodState::Gone);
    assert!(matches!(second.wait_for(&stays, deadline()).await, PodState::Alive { .. }));
    fixture.remove().await;
}

#[tokio::test]
#[ignore = "needs a cluster: tests/run starts one"]
async fn many_pods_that_are_missing_at_once_are_gone_when_confirmed() {
    let fixture = Fixture::new().await;
    let missing: Vec<String> = (0..40).map(|number| format!("00000000-0000-0000-0000-{number:012}")).collect();
    let cache = fixture.watch(None, Known { cluster_uid: None, pods: missing.clone() }).await;
    let mut events = cache.subscribe();
    until("it awaits confirmation", || cache.status() == CacheStatus::AwaitingConfirmation { missing: 40 }).await;
    assert_eq!(cache.pod(&missing[0]), PodState::Unknown);
    let new = fixture.pod("new", None).await;
    assert!(matches!(cache.wait_for(&new, deadline()).await, PodState::Alive { .. }), "news are followed meanwhile");
    assert_eq!(cache.confirm_loss(), 40);
    gone(&mut events, &missing[39]).await;
    assert_eq!((cache.pod(&missing[0]), cache.status()), (PodState::Gone, CacheStatus::Synced));
    fixture.remove().await;
}

#[tokio::test]
#[ignore = "needs a cluster: tests/run starts one"]
async fn another_cluster_is_followed_when_confirmed() {
    let fixture = Fixture::new().await;
    let known = Known { cluster_uid: Some("another".into()), pods: vec!["theirs".into()] };
    let cache = fixture.watch(None, known).await;
    until("it awaits confirmation", || cache.status() == CacheStatus::AwaitingConfirmation { missing: 1 }).await;
    let new = fixture.pod("new", None).await;
    assert_eq!(cache.pod(&new), PodState::Unknown);
    assert_eq!(cache.confirm_loss(), 1);
    assert_eq!(cache.pod("theirs"), PodState::Gone);
    assert!(matches!(cache.wait_for(&new, deadline()).await, PodState::Alive { .. }));
    assert_eq!(cache.status(), CacheStatus::Synced);
    fixture.remove().await;
}
