//! Tokens that are made: they can do what they shall, and nothing once they are ended.

use coffer_kubernetes::{Account, ApiError, ApiServer, Made, Rule, TokenPlan};
use k8s_openapi::api::{
    core::v1::{Pod, Secret, ServiceAccount},
    rbac::v1::{Role, RoleBinding},
};
use kube::{Api, Client, api::ListParams};
use serde_json::json;
use tokio::time::{Duration, Instant, sleep};

use super::fixture::{Fixture, deadline};

fn plan(fixture: &Fixture, name: &str, account: Account) -> TokenPlan {
    TokenPlan {
        namespace: fixture.name.clone(),
        name: name.to_owned(),
        vault: "ab".repeat(16),
        lease: "cd".repeat(16),
        account,
        audiences: Vec::new(),
        lasts_secs: 1,
    }
}

/// What the API server says to somebody who lists pods: 200, or why not.
async fn listing(client: &Client, namespace: &str) -> u16 {
    match Api::<Pod>::namespaced(client.clone(), namespace).list(&ListParams::default()).await {
        Ok(_) => 200,
        Err(kube::Error::Api(status)) => status.code,
        Err(error) => panic!("{error}"),
    }
}

/// Waits until the API server says this: it keeps its own answer about a token for 10 s, and rights take a moment.
async fn until(client: &Client, namespace: &str, expected: u16) {
    let end = deadline();
    loop {
        let said = listing(client, namespace).await;
        if said == expected {
            return;
        }
        assert!(Instant::now() < end, "it says {said} and never {expected}");
        sleep(Duration::from_millis(100)).await;
    }
}

async fn minter(fixture: &Fixture) -> ApiServer {
    let rules = json!([
        {"apiGroups": [""], "resources": ["serviceaccounts", "secrets"], "verbs": ["create", "delete"]},
        {"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]},
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": ["create", "delete"]},
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "resourceNames": ["view"], "verbs": ["bind"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
    ]);
    fixture.allow("vault", rules).await;
    fixture.allow("app", json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}])).await;
    fixture.api("vault", None).await
}

/// How many objects with the vault's label there are.
async fn made(fixture: &Fixture) -> [usize; 4] {
    let of_vault = ListParams::default().labels("app.kubernetes.io/managed-by=coffer");
    [
        fixture.namespaced::<Secret>().list(&of_vault).await.unwrap().items.len(),
        fixture.namespaced::<ServiceAccount>().list(&of_vault).await.unwrap().items.len(),
        fixture.namespaced::<RoleBinding>().list(&of_vault).await.unwrap().items.len(),
        fixture.namespaced::<Role>().list(&of_vault).await.unwrap().items.len(),
    ]
}

#[tokio::test]
#[ignore = "needs a cluster: tests/run starts one"]
async fn a_token_works_until_it_is_ended_and_leaves_nothing_behind() {
    let fixture = Fixture::new().await;
    let api = minter(&fixture).await;
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let rule =
        Rule { api_groups: texts(&[""]), resources: texts(&["pods"]), verbs: texts(&["list"]), resource_names: Vec::new() };
    for (name, account, there) in [
        ("existing", Account::Existing("app".into()), [1, 0, 0, 0]),
        ("with-rules", Account::WithRules(vec![rule]), [0, 1, 1, 1]),
        ("with-cluster-role", Account::WithClusterRole("view".into()), [0, 1, 1, 0]),
    ] {
        let plan = plan(&fixture, name, account);
        // Rights take a moment to be seen.
        let end = deadline();
        let token = loop {
            match api.make_token(&plan).await {
                Err(ApiError::Told(403, said)) if Instant::now() < end => {
                    assert!(said.contains("cannot") || said.contains("forbidden"), "{said}");
                    api.end_token(&plan.namespace, &plan.name, plan.account.made()).await.ok();
                    sleep(Duration::from_millis(100)).await;
                }
                other => break other.unwrap(),
            }
        };
        assert_eq!(token.service_account, if plan.account.made() == Made::Secret { "app" } else { name });
        assert_eq!(made(&fixture).await, there, "{name}");
        let holder = fixture.holder_of(token.token.expose());
        until(&holder, &fixture.name, 200).await;
        assert_eq!(listing(&holder, "kube-system").await, 403, "it is for one namespace");

        api.end_token(&plan.namespace, &plan.name, plan.account.made()).await.unwrap();
        until(&holder, &fixture.name, 401).await;
        assert_eq!(made(&fixture).await, [0; 4], "{name}");
        api.end_token(&plan.namespace, &plan.name, plan.account.made()).await.unwrap();
    }
    fixture.remove().await;
}

#[tokio::test]
#[ignore = "needs a cluster: tests/run starts one"]
async fn what_the_api_server_refuses_is_told_in_its_words() {
    let fixture = Fixture::new().await;
    let api = fixture.api("nobody", None).await;
    for account in [Account::Existing("app".into()), Account::WithRole("reader".into())] {
        let plan = plan(&fixture, "refused", account);
        let Err(ApiError::Told(403, said)) = api.make_token(&plan).await else { panic!("it has no rights") };
        assert!(said.contains("cannot create resource") && said.contains(&fixture.name), "{said}");
        assert!(matches!(api.end_token(&plan.namespace, "refused", Made::Secret).await, Err(ApiError::Told(403, _))));
    }
    fixture.remove().await;
}
