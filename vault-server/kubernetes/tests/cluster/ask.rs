//! Keys and reviews.

use coffer_kubernetes::{ApiError, Review, ReviewedPod, fetch_jwks};
use serde_json::{Value, json};

use super::fixture::{Fixture, deadline};
use tokio::time::{Duration, Instant, sleep};

#[tokio::test]
#[ignore = "needs a cluster: tests/run starts one"]
async fn the_clusters_keys_are_fetched_with_and_without_its_interface() {
    let fixture = Fixture::new().await;
    let api = fixture.api("vault", None).await;
    let keys = api.jwks().await.unwrap();
    let parsed: Value = serde_json::from_str(&keys).unwrap();
    assert_eq!(parsed["keys"][0]["alg"], "RS256");

    let url = format!("{}/openid/v1/jwks", fixture.url.trim_end_matches('/'));
    fixture.publish_keys().await;
    // Rights take a moment to be seen.
    let end = deadline();
    let fetched = loop {
        match fetch_jwks(&url, Some(&fixture.ca_pem)).await {
            Err(ApiError::Refused(403)) if Instant::now() < end => sleep(Duration::from_millis(20)).await,
            other => break other,
        }
    };
    assert_eq!(serde_json::from_str::<Value>(&fetched.unwrap()).unwrap(), parsed);
    let other_ca = include_str!("../data/ca.pem");
    assert!(matches!(fetch_jwks(&url, Some(other_ca)).await, Err(ApiError::Unreachable(_))), "another authority");
    fixture.remove().await;
}

#[tokio::test]
#[ignore = "needs a cluster: tests/run starts one"]
async fn who_has_no_rights_is_refused() {
    let fixture = Fixture::new().await;
    let api = fixture.api("nobody", None).await;
    assert!(matches!(api.review("token", "coffer").await, Err(ApiError::Refused(403))));
    assert!(matches!(api.cluster_uid().await, Err(ApiError::Refused(403))));
    let stranger = fixture.server(None, None);
    assert!(matches!(stranger.cluster_uid().await, Err(ApiError::Refused(401 | 403))));
    fixture.remove().await;
}

#[tokio::test]
#[ignore = "needs a cluster: tests/run starts one"]
async fn a_pods_token_is_accepted_for_its_audience_alone() {
    let fixture = Fixture::new().await;
    let api = fixture.api("vault", None).await;
    let uid = fixture.pod("bound", None).await;
    let reference = json!({"kind": "Pod", "apiVersion": "v1", "name": "bound", "uid": uid});
    let token = fixture.token("app", json!({"audiences": ["coffer"], "boundObjectRef": reference})).await;
    let Review::ServiceAccount { namespace, service_account, service_account_uid, pod } =
        api.review(&token, "coffer").await.unwrap()
    else {
        panic!("it is refused")
    };
    assert_eq!((namespace, service_account.as_str()), (fixture.name.clone(), "app"));
    assert_eq!(service_account_uid.len(), 36);
    assert_eq!(pod, Some(ReviewedPod { name: "bound".into(), uid }));

    assert_eq!(api.review(&token, "other").await.unwrap(), Review::Refused);
    let (rest, signature) = token.rsplit_once('.').unwrap();
    let forged = format!("{rest}.{}", signature.chars().rev().collect::<String>());
    for wrong in ["x", "x.y.z", &forged] {
        assert_eq!(api.review(wrong, "coffer").await.unwrap(), Review::Refused);
    }

    fixture.delete_pod("bound").await;
    // The API server keeps its own answer for 10 s.
    let end = deadline();
    while api.review(&token, "coffer").await.unwrap() != Review::Refused {
        assert!(Instant::now() < end, "the token outlives its pod");
        sleep(Duration::from_millis(200)).await;
    }
    fixture.remove().await;
}

#[tokio::test]
#[ignore = "needs a cluster: tests/run starts one"]
async fn a_token_without_a_pod_is_told_apart() {
    let fixture = Fixture::new().await;
    let api = fixture.api("vault", None).await;
    let token = fixture.token("app", json!({"audiences": ["coffer"]})).await;
    let review = api.review(&token, "coffer").await.unwrap();
    assert!(matches!(review, Review::ServiceAccount { pod: None, .. }), "{review:?}");
    fixture.remove().await;
}
