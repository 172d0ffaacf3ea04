//! Numbers at their limits and past them; small requests that would grow large.

use std::{collections::HashMap, time::Instant};

use anyhow::{Context as _, Result, ensure};
use coffer_client::{
    Client,
    proto::{
        ClusterSettings, CreateClusterRequest, DeleteVersionsRequest, GetSecretRequest, KeySource, ListClustersRequest,
        ListGrantsRequest, ListOperatorsRequest, ListPoliciesRequest, ListSecretsRequest, ListSessionsRequest,
        LoginWorkloadRequest, PutSecretMetadataRequest, PutSecretRequest, TailAuditRequest, key_source::Source,
    },
};
use coffer_core::limits::{
    AUDIT_LAST_MAX, FIELDS_MAX, PAGE_SIZE_MAX, PATH_BYTES_MAX, PATH_SEGMENTS_MAX, SEGMENT_BYTES_MAX, TTL_SECS_MAX,
    VERSIONS_KEPT_MAX, WATCH_PATHS_MAX,
};
use coffer_tests::issuer::{Pod, encode};

use super::refusal;
use crate::vault::{ADMIN, AUDITOR, OFFICER, PASSWORD, Vault, secret};

/// Asks each list for a page of this size; gives how many entries came, or why none did.
async fn pages(admin: &Client, officer: &Client, page_size: u32) -> Vec<(&'static str, Result<usize>)> {
    macro_rules! page {
        ($answer:expr, $entries:ident) => {
            match $answer.await {
                Ok(answer) => Ok(answer.into_inner().$entries.len()),
                Err(status) => refusal::<()>(Err(status)).and_then(|reason| anyhow::bail!(reason)),
            }
        };
    }
    let path = "kv/peers".to_owned();
    vec![
        ("clusters", page!(admin.clusters().list_clusters(ListClustersRequest { page_size, ..Default::default() }), clusters)),
        ("grants", page!(officer.grants().list_grants(ListGrantsRequest { page_size, ..Default::default() }), grants)),
        ("secrets", page!(admin.kv().list_secrets(ListSecretsRequest { path, page_size, ..Default::default() }), entries)),
        (
            "operators",
            page!(admin.operators().list_operators(ListOperatorsRequest { page_size, ..Default::default() }), operators),
        ),
        ("policies", page!(officer.policies().list_policies(ListPoliciesRequest { page_size, ..Default::default() }), policies)),
        ("sessions", page!(admin.sessions().list_sessions(ListSessionsRequest { page_size, ..Default::default() }), sessions)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_list_holds_to_the_size_of_its_pages() -> Result<()> {
    let vault = Vault::new().await?;
    let (admin, officer) = (vault.operator(ADMIN).await?, vault.operator(OFFICER).await?);
    for name in ["one", "two"] {
        vault.put(&format!("kv/peers/{name}"), "field", "value").await?;
        vault.grant_read(&format!("kv/peers/{name}"), "k8s:test/shop/api").await?;
    }
    for size in [0, 1, PAGE_SIZE_MAX] {
        for (list, page) in pages(&admin, &officer, size).await {
            let count = page.context(list)?;
            ensure!(size != 1 || count <= 1, "{list}: {count} entries on a page of one");
            ensure!(size == 1 || count >= 2 || ["clusters", "policies"].contains(&list), "{list}: {count} entries");
        }
    }
    for size in [PAGE_SIZE_MAX + 1, u32::MAX / 2, u32::MAX] {
        for (list, page) in pages(&admin, &officer, size).await {
            assert_eq!(page.err().context(list)?.to_string(), "LIMIT_EXCEEDED", "{list}: {size}");
        }
    }
    let auditor = vault.operator(AUDITOR).await?;
    auditor.audit().tail_audit(TailAuditRequest { last: AUDIT_LAST_MAX, ..Default::default() }).await?;
    for last in [AUDIT_LAST_MAX + 1, u64::MAX] {
        let request = TailAuditRequest { last, ..Default::default() };
        assert_eq!(refusal(auditor.audit().tail_audit(request).await)?, "LIMIT_EXCEEDED");
    }
    // Further than the end there is nothing, and no error.
    let mut beyond = auditor.audit().tail_audit(TailAuditRequest { from: u64::MAX, ..Default::default() }).await?.into_inner();
    assert!(beyond.message().await?.is_none());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_of_secrets_hold_to_their_limits() -> Result<()> {
    const PATH: &str = "kv/peers/numbers";
    let vault = Vault::new().await?;
    vault.put(PATH, "field", "value").await?;
    vault.grant_read(PATH, "k8s:test/shop/api").await?;
    let admin = vault.operator(ADMIN).await?;
    let put = |change: &dyn Fn(&mut PutSecretRequest)| {
        let mut request = secret(PATH, "field", "value");
        change(&mut request);
        let mut kv = admin.kv();
        async move { kv.put_secret(request).await }
    };
    for ttl in [TTL_SECS_MAX + 1, u64::MAX / 1_000, u64::MAX] {
        assert_eq!(refusal(put(&|request| request.ttl_seconds = ttl).await)?, "LIMIT_EXCEEDED", "{ttl}");
    }
    put(&|request| request.ttl_seconds = TTL_SECS_MAX).await?;
    for version in [0, 1, u64::MAX] {
        assert_eq!(refusal(put(&|request| request.expected_version = Some(version)).await)?, "CONFLICT", "{version}");
    }
    for max_versions in [VERSIONS_KEPT_MAX + 1, u32::MAX] {
        let request = PutSecretMetadataRequest { path: PATH.to_owned(), max_versions, ..Default::default() };
        assert_eq!(refusal(admin.kv().put_secret_metadata(request).await)?, "LIMIT_EXCEEDED");
    }
    let versions = DeleteVersionsRequest { path: PATH.to_owned(), versions: (1..=101).collect() };
    assert_eq!(refusal(admin.kv().delete_versions(versions).await)?, "LIMIT_EXCEEDED");
    let reader = vault.workload(&Pod::new("shop", "api")?).await?;
    let request = GetSecretRequest { path: PATH.to_owned(), version: u64::MAX };
    assert_eq!(refusal(reader.kv().get_secret(request).await)?, "NOT_FOUND");
    for paths in [Vec::new(), vec![PATH.to_owned(); WATCH_PATHS_MAX + 1]] {
        assert!(reader.watch(paths).await.is_err());
    }
    reader.kv_get(PATH, 0).await?;
    Ok(())
}

/// The longest name there can be is written, read and listed; one past it is refused, and nothing falls over.
#[tokio::test(flavor = "multi_thread")]
async fn the_longest_path_is_a_path() -> Result<()> {
    let vault = Vault::new().await?;
    let admin = vault.operator(ADMIN).await?;
    let wide = ["kv", &"a".repeat(SEGMENT_BYTES_MAX), &"b".repeat(SEGMENT_BYTES_MAX), &"c".repeat(SEGMENT_BYTES_MAX)].join("/");
    let longest = format!("{wide}/{}", "d".repeat(PATH_BYTES_MAX - wide.len() - 1));
    let deepest = format!("kv{}", "/e".repeat(PATH_SEGMENTS_MAX - 1));
    for path in [&longest, &deepest] {
        vault.put(path, "field", "value").await?;
        vault.grant_read(path, "k8s:test/shop/api").await?;
        vault.workload(&Pod::new("shop", "api")?).await?.kv_get(path, 0).await?;
        let (folder, name) = path.rsplit_once('/').context("it has segments")?;
        let list = ListSecretsRequest { path: folder.to_owned(), ..Default::default() };
        let entries = admin.kv().list_secrets(list).await?.into_inner().entries;
        assert!(entries.iter().any(|entry| entry.name == name));
    }
    for path in [
        format!("{longest}d"),
        format!("{deepest}/e"),
        format!("kv/{}", "f".repeat(SEGMENT_BYTES_MAX + 1)),
        "kv/x".repeat(99_999),
    ] {
        assert_eq!(refusal(admin.kv().put_secret(secret(&path, "field", "value")).await)?, "PATH_INVALID");
    }
    vault.put("kv/peers/after", "field", "value").await?;
    Ok(())
}

/// Requests that are small on the wire and would be large, deep or many when taken apart.
#[tokio::test(flavor = "multi_thread")]
async fn small_requests_cannot_grow_large() -> Result<()> {
    let mut vault = Vault::new().await?;
    let admin = vault.operator(ADMIN).await?;
    let memory = |vault: &mut Vault| -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", vault.server.process()?.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("the kernel tells the peak")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    };
    let (before, begin) = (memory(&mut vault)?, Instant::now());
    for count in [FIELDS_MAX + 1, 100_000] {
        let fields: HashMap<_, _> = (0..count).map(|number| (format!("{number}"), Vec::new())).collect();
        let request = PutSecretRequest { path: "kv/peers/many".to_owned(), fields, ..Default::default() };
        assert_eq!(refusal(admin.kv().put_secret(request).await)?, "LIMIT_EXCEEDED", "{count} fields");
    }
    // As few, and as long: the audit record of it would be too long to be written.
    let request = PutSecretRequest {
        path: "kv/peers/long".to_owned(),
        fields: [("x".repeat(1 << 20), Vec::new())].into(),
        ..Default::default()
    };
    assert_eq!(refusal(admin.kv().put_secret(request).await)?, "LIMIT_EXCEEDED");
    let metadata = (0..100_000).map(|number| (number.to_string(), String::new())).collect();
    let request = PutSecretMetadataRequest { path: "kv/peers/many".to_owned(), custom_metadata: metadata, ..Default::default() };
    assert_eq!(refusal(admin.kv().put_secret_metadata(request).await)?, "LIMIT_EXCEEDED");
    for text in ["[".repeat(60_000), "{\"keys\":".repeat(7_000), format!("{{\"keys\":[{}]}}", "{},".repeat(20_000))] {
        let keys = Some(KeySource { source: Some(Source::Jwks(text)) });
        let settings = Some(ClusterSettings { issuer: "https://deep.test".to_owned(), keys, ..Default::default() });
        let request = CreateClusterRequest { name: "deep".to_owned(), settings, ..Default::default() };
        assert_eq!(refusal(admin.clusters().create_cluster(request).await)?, "KEYS_INVALID");
    }
    let header = encode(vault.issuer.header().to_string().as_bytes());
    for claims in ["[".repeat(5_000), "{\"a\":".repeat(1_000)] {
        let token = format!("{header}.{}.{header}", encode(claims.as_bytes()));
        let request = LoginWorkloadRequest { token, cluster: "test".to_owned(), ..Default::default() };
        assert_eq!(refusal(vault.stranger()?.auth().login_workload(request).await)?, "LOGIN_REFUSED");
    }
    // Past what any request may have: refused by its length, before it is taken apart.
    let request = LoginWorkloadRequest { token: "x".repeat(8 << 20), ..Default::default() };
    ensure!(vault.stranger()?.auth().login_workload(request).await.is_err(), "8 MiB were read");
    let grown = memory(&mut vault)?.saturating_sub(before);
    ensure!(grown < 256 << 10, "the server grew by {grown} KiB");
    ensure!(begin.elapsed().as_secs() < 60, "it took {:?}", begin.elapsed());
    vault.stranger()?.login_password("", ADMIN, &coffer_secret::SecretString::copied_from(PASSWORD)).await?;
    Ok(())
}
