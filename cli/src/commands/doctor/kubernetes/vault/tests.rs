use coffer_client::proto::ClusterSettings;

use super::*;
use crate::commands::doctor::State;

fn cluster(name: &str, issuer: &str, cache: &str) -> Cluster {
    let settings = ClusterSettings { issuer: issuer.to_owned(), ..ClusterSettings::default() };
    Cluster { name: name.to_owned(), settings: Some(settings), pod_cache: cache.to_owned(), ..Cluster::default() }
}

/// What is said of clusters: the states, and the name that came of it.
fn told(clusters: &[Cluster], named: Option<&str>, issuer: Option<&str>) -> (Vec<State>, Option<String>, String) {
    let mut checks = Checks::default();
    let name = registered(clusters, named, issuer, &BTreeSet::from(["coffer"]), &mut checks).map(str::to_owned);
    assert!(checks.0.iter().all(|check| check.state == State::Ok || check.next.is_some()), "{checks:?}");
    (checks.0.iter().map(|check| check.state).collect(), name, format!("{checks:?}"))
}

#[test]
fn a_cluster_is_known_by_its_issuer_or_its_name() {
    let all =
        [cluster("prod", "https://a", "synced"), cluster("test", "https://b", "none"), cluster("twin", "https://b", "synced")];
    assert_eq!(
        (told(&all, None, Some("https://a")).0, told(&all, None, Some("https://a")).1),
        (vec![State::Ok], Some("prod".into()))
    );
    // Two with one issuer: both are looked at, and neither is the one.
    assert_eq!(
        (told(&all, None, Some("https://b")).0, told(&all, None, Some("https://b")).1),
        (vec![State::Ok, State::Ok], None)
    );
    assert_eq!(told(&all, Some("twin"), Some("https://b")).1.as_deref(), Some("twin"));
    let (states, name, said) = told(&all, None, Some("https://c"));
    assert!(
        states == [State::Fail] && name.is_none() && said.contains("coffer cluster create NAME --issuer https://c"),
        "{said}"
    );
    assert_eq!(told(&all, Some("nobody"), Some("https://a")).0, [State::Fail]);
    let (states, _, said) = told(&all, Some("prod"), Some("https://b"));
    assert!(states == [State::Fail, State::Ok] && said.contains("coffer cluster update prod --issuer https://b"), "{said}");
    // Where the issuer may not be read a name is enough.
    assert_eq!((told(&all, None, None).0, told(&all, Some("prod"), None).0), (vec![State::Skip], vec![State::Ok]));
}

#[test]
fn what_the_vault_knows_of_pods_is_said() {
    for (cache, state) in
        [("synced", State::Ok), ("none", State::Ok), ("syncing", State::Warn), ("stale", State::Fail), ("confirm", State::Fail)]
    {
        let (states, _, said) = told(&[cluster("prod", "https://a", cache)], None, Some("https://a"));
        assert_eq!(states, [state], "{said}");
        assert_eq!(said.contains("coffer cluster confirm-pod-loss prod"), cache == "confirm", "{said}");
    }
    let mut other = cluster("prod", "https://a", "synced");
    other.settings.as_mut().unwrap().audience = "vault".to_owned();
    let (states, _, said) = told(&[other], None, Some("https://a"));
    assert!(states == [State::Fail, State::Ok] && said.contains("injector.audience=vault"), "{said}");
}

#[test]
fn questions_are_asked_once_for_a_principal_and_a_path() {
    let reading = |account: &str, cluster: &str, tenant: &str, path: &str| Reading {
        namespace: "shop".to_owned(),
        service_account: account.to_owned(),
        tenant: tenant.to_owned(),
        cluster: cluster.to_owned(),
        paths: BTreeSet::from([path.to_owned()]),
    };
    let readings = [
        reading("api", "", "", "kv/a"),
        reading("api", "", "", "kv/a"),
        reading("api", "", "default", "kv/b"),
        reading("web", "prod", "", "kv/c"),
        reading("api", "", "other", "kv/d"),
    ];
    let (asked, untold) = questions(&readings, Some("here"), "default");
    let asked: Vec<String> = asked.iter().map(|(who, paths)| format!("{who} {paths:?}")).collect();
    assert_eq!((asked.join("; "), untold), (r#"k8s:here/shop/api {"kv/a", "kv/b"}; k8s:prod/shop/web {"kv/c"}"#.to_owned(), 0));
    let (asked, untold) = questions(&readings, None, "default");
    assert_eq!((asked.len(), untold), (1, 3));
}

#[test]
fn no_more_is_asked_than_may_be() {
    let paths =
        |number: usize| BTreeMap::from([("k8s:a/b/c".to_owned(), (0..number).map(|path| format!("kv/{path}")).collect())]);
    let (at, past) = (paths(QUESTIONS_MAX), paths(QUESTIONS_MAX + 1));
    assert_eq!((bounded(&at).0.len(), bounded(&at).1), (QUESTIONS_MAX, 0));
    assert_eq!((bounded(&past).0.len(), bounded(&past).1), (QUESTIONS_MAX, 1));
}
