use serde_json::{Value, json};

use super::*;
use crate::commands::doctor::State;

/// As the API server gives the chart's.
fn configuration(name: &str, bundle: &str) -> Value {
    json!({
        "metadata": { "name": name, "creationTimestamp": "2026-11-29T01:00:00Z" },
        "webhooks": [{
            "name": "inject.coffer.dev",
            "clientConfig": { "caBundle": STANDARD.encode(bundle), "service": { "name": name, "namespace": "coffer", "path": "/inject", "port": 443 } },
            "failurePolicy": "Fail",
            "namespaceSelector": { "matchExpressions": [{ "key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", "coffer"] }] },
        }],
    })
}

fn read(values: &[Value]) -> Vec<WebhookConfiguration> {
    values.iter().map(|value| serde_json::from_value(value.clone()).unwrap()).collect()
}

fn selector(key: &str, operator: &str, values: &[&str]) -> Selector {
    serde_json::from_value(json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] })).unwrap()
}

fn states(look: impl FnOnce(&mut Checks)) -> Vec<(State, String)> {
    let mut checks = Checks::default();
    look(&mut checks);
    assert!(checks.0.iter().all(|check| check.state == State::Ok || check.next.is_some()), "{checks:?}");
    checks.0.into_iter().map(|check| (check.state, check.found)).collect()
}

#[test]
fn a_webhook_is_there_alone_and_fails_closed() {
    let other = json!({ "metadata": { "name": "other" }, "webhooks": [{ "name": "other.example.com", "clientConfig": { "url": "https://x" } }] });
    let good = read(&[other.clone(), configuration("coffer-injector", "CA")]);
    assert_eq!(states(|checks| configured(&injectors(&good), checks)), []);
    let none = states(|checks| configured(&injectors(&read(&[other])), checks));
    assert!(none[0].0 == State::Fail && none[0].1.contains("there is no webhook"), "{none:?}");
    let mut open = configuration("coffer-injector", "CA");
    open["webhooks"][0]["failurePolicy"] = json!("Ignore");
    let open = read(&[open]);
    let told = states(|checks| configured(&injectors(&open), checks));
    assert!(told[0].0 == State::Fail && told[0].1.contains("Ignore"), "{told:?}");
    let two = read(&[configuration("a", "CA"), configuration("b", "CA")]);
    let told = states(|checks| configured(&injectors(&two), checks));
    assert!(told.len() == 1 && told[0].0 == State::Warn && told[0].1.starts_with("a and b are both"), "{told:?}");
}

#[test]
fn namespaces_may_keep_two_injectors_apart() {
    let team = |operator: &str, values: &[&str]| selector("team", operator, values);
    assert!(overlap(&Selector::default(), &team("In", &["a"])));
    assert!(!overlap(&team("In", &["a"]), &team("In", &["b", "c"])));
    assert!(overlap(&team("In", &["a", "b"]), &team("In", &["b", "c"])));
    assert!(!overlap(&team("NotIn", &["a", "b"]), &team("In", &["a"])));
    assert!(overlap(&team("NotIn", &["a"]), &team("In", &["a", "b"])));
    assert!(!overlap(&team("DoesNotExist", &[]), &team("Exists", &[])));
    assert!(overlap(&team("In", &["a"]), &selector("zone", "In", &["b"])));
    let labelled: Selector = serde_json::from_value(json!({ "matchLabels": { "team": "a" } })).unwrap();
    assert!(!overlap(&labelled, &team("In", &["b"])));
}

#[test]
fn namespaces_without_injection_are_known() {
    let good = read(&[configuration("coffer-injector", "CA")]);
    let injectors = injectors(&good);
    let left_out: Vec<bool> = ["coffer", "kube-system", "shop"].map(|name| injectors[0].leaves_out(name)).to_vec();
    assert_eq!(left_out, [true, true, false]);
}

#[test]
fn a_service_without_anybody_is_found() {
    let good = read(&[configuration("coffer-injector", "CA")]);
    let injectors = injectors(&good);
    let slices = |value: Value| -> Vec<EndpointSlice> { serde_json::from_value(json!([{ "endpoints": value }])).unwrap() };
    let state = |value| states(|checks| answers(&injectors[0], &slices(value), checks));
    assert_eq!(state(json!(null))[0].0, State::Fail);
    assert_eq!(state(json!([{ "conditions": { "ready": false } }]))[0].0, State::Fail);
    let two = json!([{ "conditions": { "ready": true } }, { "conditions": {} }, { "conditions": { "ready": false } }]);
    assert_eq!(state(two), [(State::Ok, "coffer-injector in coffer: 2 ready".into())]);
}

#[test]
fn the_api_server_believes_the_ca_of_the_secret() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["x".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2026, 1, 5);
    let certificate = params.self_signed(&key).unwrap().pem();
    let shown = |ca: &str| Shown::read(&format!("{} {}", STANDARD.encode(ca), STANDARD.encode(&certificate)));
    let at = |time: &str| -> Timestamp { time.parse().unwrap() };
    let look = |bundle: &str, shown: Option<Shown>, time: &str| {
        let known = read(&[configuration("coffer-injector", bundle)]);
        states(|checks| certificates(&injectors(&known)[0], shown.as_ref(), at(time), checks))
    };
    let early = "2026-01-02T00:00:00Z";
    let good = look("CA\n", shown("CA"), early);
    assert!(good[0].0 == State::Ok && good[0].1.contains("good for 3d"), "{good:?}");
    let other = look("other", shown("CA"), early);
    assert!(other[0].0 == State::Fail && other[0].1.contains("is not ca.crt of the Secret coffer-injector-tls"), "{other:?}");
    assert_eq!(look("", shown("CA"), early)[0].0, State::Fail);
    assert_eq!(look("CA", shown("CA"), "2026-01-04T00:00:01Z")[0].0, State::Warn);
    assert_eq!(look("CA", shown("CA"), "2026-01-05T00:00:00Z")[0].0, State::Fail);
    // Without the Secret there is nothing to be compared.
    assert_eq!(look("CA", None, early), []);
    assert_eq!(Shown::read("%"), None);
}

#[test]
fn the_policy_in_the_api_server_is_bound_and_denies() {
    let policy = |failure: &str| json!({ "kind": "ValidatingAdmissionPolicy", "metadata": { "name": "coffer-injector" }, "spec": { "failurePolicy": failure, "matchConditions": [{ "name": "asks", "expression": "object.metadata.annotations[?'coffer.dev/inject'].orValue('') == 'true'" }] } });
    let binding = |action: &str| json!({ "kind": "ValidatingAdmissionPolicyBinding", "metadata": { "name": "coffer-injector" }, "spec": { "policyName": "coffer-injector", "validationActions": [action] } });
    let state = |values: &[Value]| {
        let read: Vec<Policy> = values.iter().map(|value| serde_json::from_value(value.clone()).unwrap()).collect();
        states(|checks| policies(&read, checks))[0].0
    };
    assert_eq!(state(&[policy("Fail"), binding("Deny")]), State::Ok);
    assert_eq!(state(&[]), State::Fail);
    assert_eq!(state(&[binding("Deny")]), State::Fail);
    assert_eq!(state(&[policy("Fail")]), State::Fail);
    assert_eq!(state(&[policy("Fail"), binding("Warn")]), State::Fail);
    assert_eq!(state(&[policy("Ignore"), binding("Deny")]), State::Fail);
}
