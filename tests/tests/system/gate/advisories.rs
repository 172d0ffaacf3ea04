//! Advisories that come out after an image was attested: what its verdict gave is taken away while pods run, and comes back.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail, ensure};
use coffer_client::{
    Event, Watch,
    proto::{
        AdvisedImage, AdvisoryMatch, AdvisoryScope, AttestImageRequest, ImagePackage, ImportAdvisoriesRequest,
        IssueCredentialRequest, ListImagePackagesRequest, ListLeasesRequest, PackageList, Scan, ScanException, TailAuditRequest,
    },
};
use coffer_tests::{command::Coffer, wait::PATIENCE};
use serde_json::Value;
use tokio::time::{Duration, Instant, sleep, timeout};

use super::{API, CREDENTIAL, Gate, PATH, SIGNER, clean_scan, digest, image};
use crate::{
    command::person,
    vault::{ADMIN, AUDITOR, OFFICER, reason},
};

/// How soon what was given is taken away.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);

/// Two of RustSec's own, without their prose.
const RUSTLS: &str = r##"```toml
[advisory]
id = "RUSTSEC-2024-0336"
package = "rustls"
date = "2024-04-19"
url = "https://github.com/rustls/rustls/security/advisories/GHSA-6g7w-8wpp-frhj"
categories = ["denial-of-service"]
aliases = ["CVE-2024-32650", "GHSA-6g7w-8wpp-frhj"]
cvss = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H"

[versions]
patched = [">= 0.23.5", ">= 0.22.4, < 0.23.0", ">= 0.21.11, < 0.22.0"]
```

# `rustls::ConnectionCommon::complete_io` could fall into an infinite loop based on network input
"##;
const HYPER: &str = r##"```toml
[advisory]
id = "RUSTSEC-2021-0079"
package = "hyper"
date = "2021-07-07"
url = "https://github.com/hyperium/hyper/security/advisories/GHSA-5h46-h7hh-c6x9"
keywords = ["http", "parsing", "data loss"]
aliases = ["CVE-2021-32714", "GHSA-5h46-h7hh-c6x9"]
cvss = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:H/A:H"

[versions]
patched = [">= 0.14.10"]
```

# Integer overflow in `hyper`'s parsing of the `Transfer-Encoding` header leads to data loss
"##;

fn package(name: &str, version: &str) -> ImagePackage {
    ImagePackage { scope: "crates.io".into(), name: name.into(), version: version.into() }
}

/// A scan that found nothing, and fails for what is high.
fn scan(number: u8) -> Scan {
    Scan { fail_on: "high".into(), ..clean_scan(number) }
}

fn request(scan: Scan, packages: Vec<ImagePackage>) -> AttestImageRequest {
    let packages = Some(PackageList { packages, incomplete: false });
    AttestImageRequest { signer: SIGNER.into(), scan: Some(scan), ttl_seconds: 0, packages }
}

impl Gate {
    /// Attests an image with rustls 0.23.4 in it.
    async fn attest_rustls(&self, scan: Scan) -> Result<()> {
        let packages = vec![package("rustls", "0.23.4"), package("serde", "1.0.200")];
        self.ci.gate().attest_image(request(scan, packages)).await?;
        Ok(())
    }
}

/// A folder with these advisories.
fn folder(advisories: &[(&str, &str)]) -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    for (name, text) in advisories {
        fs::write(folder.path().join(name), text)?;
    }
    Ok(folder)
}

fn import(coffer: &Coffer, from: &Path, more: &[&str]) -> Result<Value> {
    let from = from.display().to_string();
    let arguments = [&["advisories", "import", from.as_str(), "--vault", "-o", "json"], more].concat();
    let text = coffer.ok(arguments)?;
    serde_json::from_str(&text).with_context(|| text)
}

async fn told(watch: &mut Watch) -> Result<Option<Event>> {
    timeout(PATIENCE, watch.next()).await.context("nothing is told")?.map_err(anyhow::Error::from)
}

/// Waits until two paths are withheld, and no lease is left.
async fn taken(gate: &Gate, watch: &mut Watch, since: Instant) -> Result<Duration> {
    for _ in 0..2 {
        let event = told(watch).await?;
        ensure!(matches!(event, Some(Event::Withheld { .. })), "{event:?}");
    }
    let withheld = since.elapsed();
    let admin = gate.vault().operator(ADMIN).await?;
    while !admin.leases().list_leases(ListLeasesRequest::default()).await?.into_inner().leases.is_empty() {
        ensure!(since.elapsed() < PATIENCE, "the credential outlives its condition");
        sleep(Duration::from_millis(20)).await;
    }
    println!("told as withheld after {withheld:?}, and the credential ended after {:?}", since.elapsed());
    Ok(since.elapsed())
}

/// The newest record of an RPC in the audit log.
async fn record(gate: &Gate, rpc: &str) -> Result<Value> {
    let auditor = gate.vault().operator(AUDITOR).await?;
    let mut tail = auditor.audit().tail_audit(TailAuditRequest { last: 200, ..Default::default() }).await?.into_inner();
    let mut newest = None;
    while let Some(entry) = tail.message().await? {
        let found: Value = serde_json::from_str(&entry.record_json)?;
        if found["rpc"].as_str().is_some_and(|name| name.ends_with(rpc)) {
            newest = Some(found);
        }
    }
    newest.with_context(|| format!("{rpc} has no record"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_advisory_that_comes_out_later_takes_away_what_a_verdict_gave() -> Result<()> {
    let gate = Gate::new().await?;
    let officer = person(gate.vault(), OFFICER)?;
    gate.attest_rustls(scan(10)).await?;
    gate.grant(PATH, &["image=pass"]).await?;
    gate.grant(CREDENTIAL, &["image=pass"]).await?;
    let (_pod, client) = gate.pod(&image(10), &image(10)).await?;
    gate.reads(&client, "OK").await?;
    let mut watch = client.watch(vec![PATH.to_owned(), CREDENTIAL.to_owned()]).await?;
    for _ in 0..2 {
        ensure!(matches!(told(&mut watch).await?, Some(Event::Changed { .. })), "all can be had");
    }
    let issue = || IssueCredentialRequest { path: CREDENTIAL.into(), ttl_seconds: 900, ..Default::default() };
    let issued = client.leases().issue_credential(issue()).await?.into_inner();
    gate.vault().server.canaries().add("a service account's token", &issued.fields["token"]);

    // What it would come to is told, and nothing is changed.
    let bad = folder(&[("RUSTSEC-2024-0336.md", RUSTLS)])?;
    let plan = import(&officer, bad.path(), &["--dry-run"])?;
    let checked: Vec<_> = plan["checked"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    ensure!(checked.iter().any(|line| line.ends_with("would lose read kv/gated/secret, which it follows")), "{checked:?}");
    ensure!(checked.iter().any(|line| line.contains("would lose read kubernetes/creds/api")), "{checked:?}");
    let would = officer.ok(["would", "import-advisories", &bad.path().display().to_string()])?;
    ensure!(
        would.contains("advisory CVE-2024-32650 (high) in rustls 0.23.4") && would.contains("Nothing was changed."),
        "{would}"
    );
    gate.reads(&client, "OK").await?;
    ensure!(officer.ok(["advisories", "list"])?.contains("No advisories were imported"));

    let began = Instant::now();
    let done = import(&officer, bad.path(), &[])?;
    ensure!((&done["verdicts_failing"], &done["pods_failing"]) == (&1.into(), &1.into()), "{done}");
    let took = taken(&gate, &mut watch, began).await?;
    ensure!(took < TAKEN_WITHIN, "{took:?}");
    gate.reads(&client, "CONDITION_UNMET").await?;
    ensure!(reason(client.leases().issue_credential(issue()).await) == "CONDITION_UNMET");
    let sentence = "advisory CVE-2024-32650 (high) in rustls 0.23.4, mended in 0.23.5, imported 20";
    for arguments in [&["pods"][..], &["verdict", "show", &image(10)]] {
        let shown = officer.ok(arguments.iter().copied())?.split_whitespace().collect::<Vec<_>>().join(" ");
        ensure!(shown.contains(sentence) && shown.contains(&format!("by operator:{OFFICER}")), "{shown}");
    }
    let why = gate.why().await?;
    ensure!(why.iter().any(|why| why.contains(sentence)), "{why:?}");
    let refused = record(&gate, "KvService/GetSecret").await?;
    ensure!(refused["details"]["why"].as_str().is_some_and(|why| why.contains(sentence)), "{refused}");
    let imported = record(&gate, "AdvisoryService/ImportAdvisories").await?;
    let details = &imported["details"];
    ensure!(
        details["scopes"] == "crates.io 1 of 2024-04-19" && details["matches"] == "1" && details["images"] == "1",
        "{imported}"
    );
    ensure!(officer.ok(["verdict", "list"])?.contains("FAILED since"));

    // Done again, or attested again, it is the same.
    import(&officer, bad.path(), &[])?;
    gate.attest_rustls(scan(10)).await?;
    gate.reads(&client, "CONDITION_UNMET").await?;

    // One without it heals.
    let good = folder(&[("RUSTSEC-2021-0079.md", HYPER)])?;
    import(&officer, good.path(), &[])?;
    gate.reads(&client, "OK").await?;
    ensure!(matches!(told(&mut watch).await?, Some(Event::Changed { .. })), "it is there again");
    let listed = officer.ok(["advisories", "list"])?;
    ensure!(
        listed.contains("crates.io") && listed.contains("2021-07-07") && listed.contains(&format!("operator:{OFFICER}")),
        "{listed}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_signer_bears_with_stays_borne_with_and_what_is_not_bad_enough_does_not_count() -> Result<()> {
    let gate = Gate::new().await?;
    let officer = person(gate.vault(), OFFICER)?;
    let exception = |check: &str| ScanException {
        check: check.into(),
        subject: "rustls *".into(),
        reason: "complete_io is not called (team)".into(),
        until: "2099-01-01".into(),
    };
    gate.grant(PATH, &["image=pass"]).await?;
    let (_pod, client) = gate.pod(&image(10), &image(10)).await?;
    let both = folder(&[("1.md", RUSTLS), ("2.md", HYPER)])?;
    let with = |scan: Scan, checks: &[&str]| Scan { exceptions: checks.iter().map(|check| exception(check)).collect(), ..scan };
    for (scan, expected) in [
        (with(scan(10), &["GHSA-6g7w-8wpp-frhj"]), "OK"),
        (with(scan(10), &["IMG-25"]), "OK"),
        (with(scan(10), &["CVE-2021-32714"]), "CONDITION_UNMET"),
        (Scan { fail_on: "critical".into(), ..scan(10) }, "OK"),
        (Scan { fail_on: String::new(), ..scan(10) }, "OK"),
        (scan(10), "CONDITION_UNMET"),
    ] {
        gate.attest_rustls(scan.clone()).await?;
        import(&officer, both.path(), &[])?;
        gate.reads(&client, expected).await.with_context(|| format!("{scan:?}"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_is_an_officers_and_is_about_what_signers_have_signed() -> Result<()> {
    let gate = Gate::new().await?;
    gate.attest_rustls(scan(10)).await?;
    let bad = folder(&[("1.md", RUSTLS)])?;
    for name in [ADMIN, AUDITOR] {
        let refused = person(gate.vault(), name)?.run(["advisories", "import", &bad.path().display().to_string(), "--vault"])?;
        ensure!(refused.code == 3, "{name}: {refused:?}");
    }
    let found = |package: ImagePackage| AdvisoryMatch {
        package: Some(package),
        advisory: "CVE-1".into(),
        severity: "high".into(),
        ..AdvisoryMatch::default()
    };
    let asked = |package: ImagePackage, number: u8| ImportAdvisoriesRequest {
        scopes: vec![AdvisoryScope { scope: "crates.io".into(), newest: String::new(), packages: 1 }],
        matches: vec![found(package)],
        images: vec![AdvisedImage { manifest: digest(number), matches: vec![0] }],
        force: false,
    };
    let officer = gate.officer.advisories();
    let import = async |request: ImportAdvisoriesRequest| reason(officer.clone().import_advisories(request).await);
    ensure!(import(asked(package("rustls", "0.23.5"), 10)).await == "INVALID_ARGUMENT", "no signer has signed that");
    ensure!(
        import(ImportAdvisoriesRequest { scopes: Vec::new(), ..asked(package("rustls", "0.23.4"), 10) }).await
            == "INVALID_ARGUMENT"
    );
    ensure!(import(asked(package("rustls", "0.23.4"), 77)).await == "OK", "an image that has no verdict any more is let be");
    // What is signed of the packages can be told again from what is kept.
    let shown = gate.officer.advisories().list_image_packages(ListImagePackagesRequest::default()).await?.into_inner();
    let [attested] = shown.images.as_slice() else { bail!("{shown:?}") };
    let names = attested.packages.iter().flat_map(|list| &list.packages).map(|package| package.name.as_str());
    ensure!(names.eq(["rustls", "serde"]), "{attested:?}");
    let many = |count: usize| (0..count).map(|number| package(&number.to_string(), "1")).collect::<Vec<_>>();
    let attest = async |request: AttestImageRequest| reason(gate.ci.gate().attest_image(request).await);
    for (packages, expected) in
        [(many(8_192), "OK"), (many(8_193), "LIMIT_EXCEEDED"), (vec![package("a b", "1")], "INVALID_ARGUMENT")]
    {
        ensure!(attest(request(scan(20), packages)).await == expected, "{expected}");
    }
    let one = ScanException { check: "CVE-1".into(), until: "2099-01-01".into(), ..ScanException::default() };
    let excepted = |count: usize| Scan { exceptions: vec![one.clone(); count], ..scan(21) };
    let never = Scan { exceptions: vec![ScanException { until: "never".into(), ..one.clone() }], ..scan(21) };
    let texts = |check: usize, subject: usize| {
        let long = ScanException { check: "c".repeat(check), subject: "s".repeat(subject), ..one.clone() };
        Scan { exceptions: vec![long], ..scan(21) }
    };
    for (scan, expected) in [
        (excepted(64), "OK"),
        (excepted(65), "LIMIT_EXCEEDED"),
        (never, "INVALID_ARGUMENT"),
        (texts(64, 512), "OK"),
        (texts(65, 1), "INVALID_ARGUMENT"),
        (texts(1, 513), "INVALID_ARGUMENT"),
    ] {
        ensure!(attest(request(scan.clone(), Vec::new())).await == expected, "{expected}: {:?}", scan.exceptions.first());
    }
    // Pages are as long as there is room for.
    let (mut token, mut seen) = (String::new(), 0);
    loop {
        let page =
            gate.officer.advisories().list_image_packages(ListImagePackagesRequest { page_token: token }).await?.into_inner();
        seen += page.images.len();
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    ensure!(seen == 3, "{seen}");
    Ok(())
}

/// Verdicts on a page, at most.
const PAGE_MAX: u8 = 200;

#[tokio::test(flavor = "multi_thread")]
async fn images_are_listed_in_pages_with_nothing_left_out() -> Result<()> {
    let gate = Gate::new().await?;
    let pages = async || {
        let (mut token, mut pages) = (String::new(), Vec::new());
        loop {
            let request = ListImagePackagesRequest { page_token: token };
            let page = gate.officer.advisories().list_image_packages(request).await?.into_inner();
            pages.push(page.images.len());
            token = page.next_page_token;
            if token.is_empty() {
                return anyhow::Ok(pages);
            }
        }
    };
    for number in 0..PAGE_MAX {
        gate.ci.gate().attest_image(request(scan(number), Vec::new())).await?;
    }
    ensure!(pages().await? == [usize::from(PAGE_MAX)]);
    gate.ci.gate().attest_image(request(scan(PAGE_MAX), Vec::new())).await?;
    ensure!(pages().await? == [usize::from(PAGE_MAX), 1]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_most_pods_would_not_outlive_waits_for_somebody_who_means_it() -> Result<()> {
    let gate = Gate::new().await?;
    let officer = person(gate.vault(), OFFICER)?;
    gate.attest_rustls(scan(10)).await?;
    gate.attest(scan(30)).await?;
    gate.grant(PATH, &["image=pass"]).await?;
    let mut pods = Vec::new();
    for number in [10, 10, 10, 30] {
        pods.push(gate.pod(&image(number), &image(number)).await?);
    }
    for (_, client) in &pods {
        gate.reads(client, "OK").await?;
    }
    let bad = folder(&[("1.md", RUSTLS)])?;
    let from = bad.path().display().to_string();
    let refused = officer.run(["advisories", "import", &from, "--vault"])?;
    ensure!(refused.code != 0 && refused.stderr.contains("3 of 4 running pods"), "{refused:?}");
    for (_, client) in &pods {
        gate.reads(client, "OK").await?;
    }
    import(&officer, bad.path(), &["--force"])?;
    for ((_, client), expected) in pods.iter().zip(["CONDITION_UNMET", "CONDITION_UNMET", "CONDITION_UNMET", "OK"]) {
        gate.reads(client, expected).await?;
    }
    // What is there is counted anew: the one that is left is fewer than four.
    import(&officer, bad.path(), &[])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_change_would_take_is_told_and_is_what_it_takes() -> Result<()> {
    const FORBID: &str = "forbid (principal is Workload, action == Action::\"read\", resource in Path::\"kv/gated\")\n\
        unless { context.workload.level == PodSecurity::\"privileged\" };";
    let gate = Gate::new().await?;
    let officer = person(gate.vault(), OFFICER)?;
    gate.attest_rustls(scan(10)).await?;
    let below = gate.vault().grant(&["read"], "kv/gated/**", API).await?;
    gate.grant(CREDENTIAL, &["image=pass", "signed-by=release"]).await?;
    let (_pod, client) = gate.pod(&image(10), &image(10)).await?;
    gate.reads(&client, "OK").await?;
    let mut watch = client.watch(vec![PATH.to_owned()]).await?;
    ensure!(matches!(told(&mut watch).await?, Some(Event::Changed { .. })));
    let would = |arguments: &[&str]| -> Result<Vec<String>> {
        let text = officer.ok([&["would"], arguments, &["-o", "json"]].concat())?;
        let shown: Value = serde_json::from_str(&text).context(text)?;
        let losses =
            shown["pods"].as_array().into_iter().flatten().flat_map(|pod| pod["losses"].as_array().into_iter().flatten());
        Ok(losses.map(|loss| format!("{} {}", loss["held"], loss["path"]).replace('"', "")).collect())
    };
    let verdict = would(&["revoke-verdict", &image(10)])?;
    ensure!(verdict == ["granted kubernetes/creds/api"], "{verdict:?}");
    let grant = would(&["revoke-grant", &below.id])?;
    ensure!(grant == ["watched kv/gated/secret", "granted kv/gated/**"], "{grant:?}");
    let file = folder(&[("forbid.cedar", FORBID)])?;
    let text = format!("@{}", file.path().join("forbid.cedar").display());
    let policy = would(&["put-policy", "confined", &text])?;
    ensure!(policy == ["watched kv/gated/secret"], "{policy:?}");
    gate.reads(&client, "OK").await?;
    // Nothing of this is for whoever may not see policies, and what cannot be done cannot be looked at.
    let admin = person(gate.vault(), ADMIN)?;
    ensure!(admin.run(["would", "revoke-grant", &below.id])?.code == 3);
    ensure!(admin.run(["would", "revoke-verdict", &image(10)])?.code == 0, "it may see verdicts");
    for (wrong, code) in [
        (&["revoke-grant", "00000000000000000000000000000000"][..], 3),
        (&["revoke-verdict", &image(99)], 3),
        (&["delete-policy", "absent"], 3),
        (&["revoke-grant", "x"], 2),
        (&["revoke-verdict", "app:1"], 2),
    ] {
        let refused = officer.run([&["would"], wrong].concat())?;
        ensure!(refused.code == code, "{wrong:?}: {refused:?}");
    }
    // What it said is what happens.
    officer.ok(["policy", "put", "confined", &text])?;
    gate.reads(&client, "CONDITION_UNMET").await?;
    let back = would(&["delete-policy", "confined"])?;
    ensure!(back.is_empty(), "{back:?}");
    Ok(())
}
