//! Grants with conditions: on images that a signer has passed, and on what the pod is asked to be. They give nothing before the conditions
//! hold, and what they gave ends when those hold no longer.

mod advisories;
mod conditions;
mod stored;

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD as STANDARD};
use coffer_client::{
    Client, Event,
    proto::{
        AttestImageRequest, CreateGrantRequest, CreateTransitKeyRequest, ExplainRequest, ImageFinding, IssueCredentialRequest,
        KubernetesRole, ListGatedPodsRequest, ListLeasesRequest, ListVerdictsRequest, PutKubernetesRoleRequest, PutPolicyRequest,
        PutSignerRequest, RevokeVerdictRequest, Scan, Verdict,
    },
};
use coffer_tests::{
    issuer::{Pod, now_secs},
    wait::PATIENCE,
};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep, timeout};

use crate::{
    api_server::{WATCHED, Watched},
    vault::{ADMIN, AUDITOR, OFFICER, Vault, reason},
};

/// What is given on conditions.
const PATH: &str = "kv/gated/secret";
/// A credential that is given on conditions.
pub(crate) const CREDENTIAL: &str = "kubernetes/creds/api";
const SIGNER: &str = "release";
const API: &str = "k8s:watched/shop/api";

fn digest(number: u8) -> String {
    format!("sha256:{}", format!("{number:02x}").repeat(32))
}

/// A scan of the image with this digest, which found nothing.
pub(crate) fn clean_scan(number: u8) -> Scan {
    Scan {
        manifest: digest(number),
        config: digest(number + 1),
        reference: "registry.example.com/app:1".to_owned(),
        platform: "linux/amd64".to_owned(),
        scanner: "coffer 0.1.0".to_owned(),
        scanned: Some(prost_types::Timestamp { seconds: i64::try_from(now_secs()).unwrap_or(0), nanos: 0 }),
        ..Scan::default()
    }
}

fn planted_scan(number: u8) -> Scan {
    let text = |text: &str| text.to_owned();
    let finding = ImageFinding {
        check: text("IMG-01"),
        tier: text("gate"),
        severity: text("critical"),
        status: text("fail"),
        evidence: text("layer 1: /root/.ssh/id_ed25519: gone in layer 2"),
        exception: text(""),
    };
    Scan { findings: vec![finding], ..clean_scan(number) }
}

/// A pod's object, with an agent and an application of these images.
pub(crate) fn spec(agent: &str, app: &str) -> Value {
    let restricted = json!({"allowPrivilegeEscalation": false, "runAsNonRoot": true, "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"}});
    json!({"spec": {
        "volumes": [
            {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"audience": "coffer", "path": "token"}}]}},
            {"name": "secrets", "emptyDir": {"medium": "Memory"}},
        ],
        "initContainers": [{"name": "agent", "image": agent, "securityContext": restricted, "volumeMounts": [
            {"name": "token", "mountPath": "/token"}, {"name": "secrets", "mountPath": "/secrets"}]}],
        "containers": [
            {"name": "app", "image": app, "securityContext": restricted, "volumeMounts": [{"name": "secrets", "mountPath": "/secrets"}]},
            {"name": "mesh", "image": "mesh:1", "securityContext": restricted},
        ],
    }})
}

/// Makes what is needed for the credential of a pod of shop's service account `api`.
pub(crate) async fn credentials(vault: &Vault) -> Result<()> {
    vault.mount("kubernetes", "kubernetes").await?;
    let role = KubernetesRole {
        cluster: WATCHED.into(),
        namespace: "shop".into(),
        service_account: "api".into(),
        default_ttl_seconds: 900,
        max_ttl_seconds: 1_800,
        ..Default::default()
    };
    let request = PutKubernetesRoleRequest { path: "kubernetes/roles/api".into(), role: Some(role) };
    vault.operator(ADMIN).await?.kubernetes().put_kubernetes_role(request).await?;
    Ok(())
}

struct Gate {
    watched: Watched,
    officer: Client,
    ci: Client,
}

impl Gate {
    async fn new() -> Result<Self> {
        let watched = Watched::new().await?;
        let vault = &watched.vault;
        vault.put(PATH, "value", "gated-value").await?;
        vault.mount("transit", "transit").await?;
        let (admin, officer) = (vault.operator(ADMIN).await?, vault.operator(OFFICER).await?);
        let key = CreateTransitKeyRequest { path: "transit/keys/release".into(), r#type: "ed25519".into(), ..Default::default() };
        admin.transit().create_transit_key(key).await?;
        credentials(vault).await?;
        let signer = PutSignerRequest { name: SIGNER.into(), key_path: "transit/sign/release".into() };
        officer.gate().put_signer(signer).await?;
        vault.grant(&["use"], "transit/sign/release", "k8s:watched/shop/other").await?;
        let ci = vault.stranger()?;
        let token = vault.token(watched.others.first().context("there are others")?, crate::vault::TOKEN_LIFETIME)?;
        ci.login_workload("", WATCHED, &coffer_secret::SecretString::from(token)).await?;
        Ok(Self { watched, officer, ci })
    }

    fn vault(&self) -> &Vault {
        &self.watched.vault
    }

    async fn grant(&self, path: &str, require: &[&str]) -> Result<()> {
        let request = CreateGrantRequest {
            actions: vec!["read".into()],
            path: path.into(),
            principal: API.into(),
            require: require.iter().map(|word| (*word).to_owned()).collect(),
            ..Default::default()
        };
        self.officer.grants().create_grant(request).await?;
        Ok(())
    }

    async fn attest(&self, scan: Scan) -> Result<Verdict> {
        let request = AttestImageRequest { signer: SIGNER.into(), scan: Some(scan), ..Default::default() };
        self.ci.gate().attest_image(request).await?.into_inner().verdict.context("a verdict is shown")
    }

    async fn revoke(&self, number: u8, undo: bool) -> Result<()> {
        let request = RevokeVerdictRequest { manifest: digest(number), signer: String::new(), reason: "CVE".into(), undo };
        self.officer.gate().revoke_verdict(request).await?;
        Ok(())
    }

    /// A pod with these images, and a session of it.
    async fn pod(&self, agent: &str, app: &str) -> Result<(Pod, Client)> {
        let (pod, client) = Watched::pod_of(self.vault(), &self.watched.fake).await?;
        self.watched.fake.merge(&pod, &spec(agent, app));
        Ok((pod, client))
    }

    /// Waits until reading is answered like this.
    async fn reads(&self, client: &Client, expected: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = client.kv_get(PATH, 0).await.map_or_else(|error| error.reason().to_owned(), |_| "OK".to_owned());
            if found == expected {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "it is {found}, and never {expected}: {:?}", self.why().await?);
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Why reading is withheld from pods.
    async fn why(&self) -> Result<Vec<String>> {
        let request = ExplainRequest { principal: API.into(), action: "read".into(), path: PATH.into() };
        let explained = self.officer.policies().explain(request).await?.into_inner();
        Ok(explained.withheld.into_iter().map(|withheld| withheld.reason).collect())
    }
}

fn image(number: u8) -> String {
    format!("registry.example.com/app@{}", digest(number))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_asks_for_passed_images_is_given_to_none_else() -> Result<()> {
    let gate = Gate::new().await?;
    gate.grant(PATH, &["image=pass", "signed-by=release"]).await?;
    let (pod, client) = gate.pod(&image(10), "registry.example.com/app:1").await?;
    gate.reads(&client, "CONDITION_UNMET").await?;
    gate.attest(clean_scan(10)).await?;
    ensure!(
        gate.why().await?.iter().all(|why| why.contains("container app: registry.example.com/app:1 is not named by its digest"))
    );
    // A planted key, in a layer that a later one hides.
    gate.watched.fake.merge(&pod, &spec(&image(10), &image(20)));
    ensure!(!gate.attest(planted_scan(20)).await?.passed);
    gate.reads(&client, "CONDITION_UNMET").await?;
    let why = gate.why().await?;
    ensure!(why.iter().any(|why| why.contains("IMG-01 fail: layer 1: /root/.ssh/id_ed25519: gone in layer 2")), "{why:?}");
    // Built clean, it is another image.
    gate.watched.fake.merge(&pod, &spec(&image(10), &image(30)));
    gate.reads(&client, "CONDITION_UNMET").await?;
    gate.attest(clean_scan(30)).await?;
    gate.reads(&client, "OK").await?;
    ensure!(gate.why().await?.is_empty());
    // What runs is what was asked for, under whichever of its names; and nothing else.
    let runs = |number: u8| {
        json!({"status": {"containerStatuses": [
        {"name": "app", "image": "app", "imageID": image(number), "ready": true, "restartCount": 0}]}})
    };
    for (number, expected) in [(30, "OK"), (31, "OK"), (40, "CONDITION_UNMET"), (30, "OK")] {
        gate.watched.fake.merge(&pod, &runs(number));
        gate.reads(&client, expected).await.with_context(|| format!("{number} runs"))?;
    }
    // A container that is added later can get at the files of the others.
    gate.watched.fake.merge(&pod, &json!({"spec": {"ephemeralContainers": [{"name": "shell", "image": "shell:1"}]}}));
    gate.reads(&client, "CONDITION_UNMET").await?;
    let request = ListGatedPodsRequest { namespace: "shop".into(), ..Default::default() };
    let pods = gate.officer.gate().list_gated_pods(request).await?.into_inner().pods;
    let [shown] = pods.as_slice() else { anyhow::bail!("one pod has a token: {pods:?}") };
    ensure!((shown.image.as_str(), shown.host.as_str(), shown.level.as_str()) == ("unknown", "unknown", "baseline"), "{shown:?}");
    let containers: Vec<_> = shown.containers.iter().map(|found| (found.name.as_str(), found.verdict.as_str())).collect();
    ensure!(containers == [("agent", "passed"), ("app", "passed"), ("shell", "unknown")], "{containers:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_that_is_taken_back_withdraws_what_was_given_on_its_account() -> Result<()> {
    let gate = Gate::new().await?;
    gate.attest(clean_scan(10)).await?;
    gate.grant(PATH, &["image=pass"]).await?;
    gate.grant(CREDENTIAL, &["image=pass"]).await?;
    let (_pod, client) = gate.pod(&image(10), &image(10)).await?;
    gate.reads(&client, "OK").await?;
    let mut watch = client.watch(vec![PATH.to_owned(), CREDENTIAL.to_owned(), "kv/watched/secret".to_owned()]).await?;
    let told = async |watch: &mut coffer_client::Watch| {
        timeout(PATIENCE, watch.next()).await.context("nothing is told")?.map_err(anyhow::Error::from)
    };
    for _ in 0..3 {
        ensure!(matches!(told(&mut watch).await?, Some(Event::Changed { .. })), "all can be had");
    }
    let request = || IssueCredentialRequest { path: CREDENTIAL.into(), ttl_seconds: 900, ..Default::default() };
    let issued = client.leases().issue_credential(request()).await?.into_inner();
    gate.vault().server.canaries().add("a service account's token", &issued.fields["token"]);
    gate.revoke(10, false).await?;
    let mut withheld = Vec::new();
    for _ in 0..2 {
        match told(&mut watch).await? {
            Some(Event::Withheld { path }) => withheld.push(path),
            other => anyhow::bail!("{other:?}"),
        }
    }
    withheld.sort();
    ensure!(withheld == [PATH, CREDENTIAL] || withheld == [CREDENTIAL, PATH], "{withheld:?}");
    gate.reads(&client, "CONDITION_UNMET").await?;
    ensure!(reason(client.leases().issue_credential(request()).await) == "CONDITION_UNMET");
    // What no condition holds stays.
    client.kv_get("kv/watched/secret", 0).await?;
    let (admin, deadline) = (gate.vault().operator(ADMIN).await?, Instant::now() + PATIENCE);
    while !admin.leases().list_leases(ListLeasesRequest::default()).await?.into_inner().leases.is_empty() {
        ensure!(Instant::now() < deadline, "the credential outlives its condition");
        sleep(Duration::from_millis(20)).await;
    }
    // No scan brings it back: who took it back does.
    let again = AttestImageRequest { signer: SIGNER.into(), scan: Some(clean_scan(10)), ..Default::default() };
    ensure!(reason(gate.ci.gate().attest_image(again).await) == "CONFLICT");
    gate.revoke(10, true).await?;
    gate.reads(&client, "OK").await?;
    ensure!(matches!(told(&mut watch).await?, Some(Event::Changed { .. })), "it is there again");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_not_confined_gets_nothing_that_asks_for_it() -> Result<()> {
    let gate = Gate::new().await?;
    gate.grant(PATH, &["workload=restricted"]).await?;
    let (pod, client) = gate.pod("agent:1", "app:1").await?;
    gate.reads(&client, "OK").await?;
    gate.watched.fake.merge(&pod, &json!({"spec": {"hostNetwork": true}}));
    gate.reads(&client, "CONDITION_UNMET").await?;
    ensure!(gate.why().await? == ["workload=restricted: the pod is privileged"], "{:?}", gate.why().await?);
    // Nothing is known of the node: nodes do not report here. What may only not have been heard yet is no refusal.
    gate.watched.fake.merge(&pod, &json!({"spec": {"hostNetwork": false}}));
    gate.reads(&client, "OK").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_that_can_never_hold_and_verdicts_that_say_nothing_are_refused() -> Result<()> {
    let gate = Gate::new().await?;
    let grant = |principal: &str, require: &str| CreateGrantRequest {
        actions: vec!["read".into()],
        path: PATH.into(),
        principal: principal.into(),
        require: vec![require.to_owned()],
        ..Default::default()
    };
    for (principal, require, expected) in [
        ("operator:auditor", "image=pass", "INVALID_ARGUMENT"),
        (API, "image=fine", "INVALID_ARGUMENT"),
        (API, "max-age=1h", "INVALID_ARGUMENT"),
        (API, "signed-by=nobody", "NOT_FOUND"),
    ] {
        let found = reason(gate.officer.grants().create_grant(grant(principal, require)).await);
        ensure!(found == expected, "{principal} {require}: {found}");
    }
    let attest = async |scan: Scan, ttl_seconds: u64| {
        reason(
            gate.ci
                .gate()
                .attest_image(AttestImageRequest { signer: SIGNER.into(), scan: Some(scan), ttl_seconds, packages: None })
                .await,
        )
    };
    let bad = |change: &dyn Fn(&mut Scan)| {
        let mut scan = planted_scan(50);
        change(&mut scan);
        scan
    };
    let later = prost_types::Timestamp { seconds: i64::try_from(now_secs())? + 3_600, nanos: 0 };
    for scan in [
        bad(&|scan| scan.manifest = "sha256:0".into()),
        bad(&|scan| scan.scanned = None),
        bad(&|scan| scan.scanned = Some(later)),
        bad(&|scan| scan.index = digest(60)),
        bad(&|scan| scan.index_manifests = vec![digest(50)]),
        bad(&|scan| scan.fail_on = "worst".into()),
        bad(&|scan| scan.reference = "a".repeat(513)),
        bad(&|scan| scan.platform = "a".repeat(65)),
        bad(&|scan| scan.findings[0].tier = "none".into()),
        bad(&|scan| scan.findings[0].evidence = "a".repeat(513)),
        bad(&|scan| scan.findings[0].evidence = "a\nb".into()),
    ] {
        ensure!(attest(scan.clone(), 0).await == "INVALID_ARGUMENT", "{scan:?}");
    }
    let many = |count: usize| bad(&|scan| scan.findings = vec![scan.findings[0].clone(); count]);
    let images =
        |count: u8| bad(&|scan| (scan.index, scan.index_manifests) = (digest(200), (50..50 + count).map(digest).collect()));
    for (scan, expected) in [(many(65), "LIMIT_EXCEEDED"), (many(64), "OK"), (images(33), "LIMIT_EXCEEDED"), (images(32), "OK")] {
        ensure!(attest(scan, 0).await == expected);
    }
    let year = 365 * 86_400;
    ensure!(
        (attest(clean_scan(51), year + 1).await, attest(clean_scan(51), year).await) == ("INVALID_ARGUMENT".into(), "OK".into())
    );
    // An earlier scan says less than what is known.
    let earlier = prost_types::Timestamp { seconds: i64::try_from(now_secs())? - 60, nanos: 0 };
    ensure!(attest(Scan { scanned: Some(earlier), ..clean_scan(51) }, 0).await == "CONFLICT");
    // Who may not use the signer's key attests nothing, whoever they are, and is told nothing of the signer.
    for name in [ADMIN, OFFICER, AUDITOR] {
        let request = AttestImageRequest { signer: SIGNER.into(), scan: Some(clean_scan(52)), ..Default::default() };
        ensure!(reason(gate.vault().operator(name).await?.gate().attest_image(request).await) == "NOT_FOUND_OR_DENIED", "{name}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_can_be_verified_without_the_vault_and_goes_with_its_signer() -> Result<()> {
    let gate = Gate::new().await?;
    let verdict = gate.attest(clean_scan(10)).await?;
    // What a DSSE envelope signs, by the key that the vault shows.
    let statement = verdict.statement.as_bytes();
    let kind = "application/vnd.in-toto+json";
    let message = [format!("DSSEv1 {} {kind} {} ", kind.len(), statement.len()).as_bytes(), statement].concat();
    let admin = gate.vault().operator(ADMIN).await?;
    let request = coffer_client::proto::GetTransitKeyRequest { path: "transit/keys/release".into() };
    let key = admin.transit().get_transit_key(request).await?.into_inner().versions.remove(0).public_key_pem;
    let key = STANDARD.decode(key.lines().filter(|line| !line.starts_with("---")).collect::<String>())?;
    let key = key.last_chunk::<32>().context("an Ed25519 key ends with its 32 bytes")?;
    let signature = STANDARD.decode(&verdict.signature)?;
    ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, key)
        .verify(&message, &signature)
        .map_err(|_| anyhow::anyhow!("the signature is not the key's"))?;
    ensure!(
        verdict.statement.contains(digest(10).trim_start_matches("sha256:")) && verdict.statement.contains("\"passed\":true")
    );
    gate.grant(PATH, &["image=pass"]).await?;
    let (_pod, client) = gate.pod(&image(10), &image(10)).await?;
    gate.reads(&client, "OK").await?;
    let delete = coffer_client::proto::DeleteSignerRequest { name: SIGNER.into() };
    gate.officer.gate().delete_signer(delete).await?;
    gate.reads(&client, "CONDITION_UNMET").await?;
    // One of the same name is another.
    let signer = PutSignerRequest { name: SIGNER.into(), key_path: "transit/sign/release".into() };
    gate.officer.gate().put_signer(signer).await?;
    let request = ListVerdictsRequest { digest: digest(10), ..Default::default() };
    let found = gate.officer.gate().list_verdicts(request).await?.into_inner().verdicts;
    ensure!(found.iter().map(|verdict| verdict.standing.as_str()).eq(["unsigned"]), "{found:?}");
    gate.reads(&client, "CONDITION_UNMET").await?;
    gate.attest(clean_scan(10)).await?;
    gate.reads(&client, "OK").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_looks_at_images_withholds_as_a_grant_s_conditions_do() -> Result<()> {
    const POLICY: &str = "forbid (principal is Workload, action == Action::\"read\", resource in Path::\"kv/gated\")\n\
        unless { context.image.verdict == ImageVerdict::\"passed\" };";
    let gate = Gate::new().await?;
    gate.vault().grant_read(PATH, API).await?;
    gate.attest(clean_scan(10)).await?;
    let put = PutPolicyRequest { name: "images".into(), text: POLICY.into(), etag: String::new() };
    gate.officer.policies().put_policy(put).await?;
    let (_pod, client) = gate.pod(&image(10), &image(10)).await?;
    gate.reads(&client, "OK").await?;
    let mut watch = client.watch(vec![PATH.to_owned()]).await?;
    let told = async |watch: &mut coffer_client::Watch| {
        timeout(PATIENCE, watch.next()).await.context("nothing is told")?.map_err(anyhow::Error::from)
    };
    ensure!(matches!(told(&mut watch).await?, Some(Event::Changed { .. })));
    gate.revoke(10, false).await?;
    ensure!(matches!(told(&mut watch).await?, Some(Event::Withheld { .. })), "files of it would stay");
    gate.reads(&client, "CONDITION_UNMET").await?;
    // Of an operator none of this is known: it is a refusal as any other.
    let admin = gate.vault().operator(ADMIN).await?;
    ensure!(admin.kv_get(PATH, 0).await.is_err_and(|error| error.reason() == "NOT_FOUND_OR_DENIED"));
    Ok(())
}
