//! Keys that stay in the vault: who may do what with them, and what is told.

use anyhow::{Context as _, Result, ensure};
use coffer_client::{
    Client,
    proto::{
        CreateDataKeyRequest, CreateMountRequest, CreateTransitKeyRequest, CreateWrappedDataKeyRequest, DecryptItem,
        DecryptRequest, DecryptResult, DeleteMountRequest, DeleteTransitKeyRequest, EncryptItem, EncryptRequest, EncryptResult,
        GetRandomRequest, GetTransitKeyRequest, HmacItem, HmacRequest, ImportTransitKeyRequest, ListTransitKeysRequest,
        RewrapItem, RewrapRequest, RotateTransitKeyRequest, SignDataItem, SignDataRequest, UpdateTransitKeyRequest,
        VerifyDataItem, VerifyDataRequest,
    },
};
use coffer_core::limits::{TRANSIT_BYTES_MAX, TRANSIT_ITEMS_MAX, TRANSIT_RANDOM_BYTES_MAX, TRANSIT_WRAPPED_BYTES_MAX};
use coffer_tests::issuer::Pod;
use tonic::Status;

use crate::vault::{ADMIN, Vault, reason};

const PLAINTEXT: &str = "a card's number that nobody is to see: 4111111111111111";

/// A vault with a mount of keys, and a key in it.
async fn vault() -> Result<(Vault, Client)> {
    let vault = Vault::quiet().await?;
    vault.server.canaries().add("what was encrypted", PLAINTEXT);
    let admin = vault.operator(ADMIN).await?;
    let mount = CreateMountRequest { name: "transit".into(), engine: "transit".into(), ..Default::default() };
    admin.mounts().create_mount(mount).await?;
    create(&admin, "payments", "aes256-gcm").await?;
    Ok((vault, admin))
}

async fn create(admin: &Client, key: &str, kind: &str) -> Result<(), Status> {
    let request = CreateTransitKeyRequest { path: format!("transit/keys/{key}"), r#type: kind.into(), deletion_allowed: false };
    admin.transit().create_transit_key(request).await.map(drop)
}

/// A pod that may use these.
async fn user(vault: &Vault, name: &str, paths: &[&str]) -> Result<Client> {
    for path in paths {
        vault.grant(&["use"], path, &format!("k8s:test/shop/{name}")).await?;
    }
    vault.workload(&Pod::new("shop", name)?).await
}

fn plain(text: &str) -> EncryptItem {
    EncryptItem { plaintext: text.as_bytes().to_vec(), ..Default::default() }
}

async fn encrypt(client: &Client, items: Vec<EncryptItem>) -> Result<Vec<EncryptResult>, Status> {
    let request = EncryptRequest { path: "transit/encrypt/payments".into(), items };
    Ok(client.transit().encrypt(request).await?.into_inner().results)
}

async fn decrypt(client: &Client, key: &str, ciphertexts: &[&str]) -> Result<Vec<DecryptResult>, Status> {
    let item = |text: &&str| DecryptItem { ciphertext: (*text).to_owned(), associated_data: Vec::new() };
    let request = DecryptRequest { path: format!("transit/decrypt/{key}"), items: ciphertexts.iter().map(item).collect() };
    Ok(client.transit().decrypt(request).await?.into_inner().results)
}

fn item_reason(result: &DecryptResult) -> &str {
    result.failure.as_ref().map_or("OK", |failure| failure.reason.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_encrypt_may_not_decrypt_and_one_bad_item_is_its_own() -> Result<()> {
    let (vault, admin) = vault().await?;
    let writer = user(&vault, "writer", &["transit/encrypt/payments"]).await?;
    let reader = user(&vault, "reader", &["transit/decrypt/payments", "transit/decrypt/other"]).await?;
    create(&admin, "other", "aes256-gcm").await?;

    let made = encrypt(&writer, vec![plain(PLAINTEXT), plain("")]).await?;
    ensure!(made.len() == 2 && made.iter().all(|made| made.failure.is_none() && made.ciphertext.starts_with("coffer:v1:")));
    let (first, second) = (&made[0].ciphertext, &made[1].ciphertext);
    ensure!(reason(decrypt(&writer, "payments", &[first]).await) == "NOT_FOUND_OR_DENIED");
    ensure!(reason(encrypt(&reader, vec![plain("x")]).await) == "NOT_FOUND_OR_DENIED");
    ensure!(reason(encrypt(&admin, vec![plain("x")]).await) == "NOT_FOUND_OR_DENIED", "an admin sets up, and uses nothing");
    ensure!(reason(decrypt(&admin, "payments", &[first]).await) == "NOT_FOUND_OR_DENIED");

    let opened = decrypt(&reader, "payments", &[first, "hunter2", second, "coffer:v9:AAAA", first]).await?;
    ensure!(opened.iter().map(item_reason).eq(["OK", "INVALID_ARGUMENT", "OK", "NOT_FOUND", "OK"]), "{opened:?}");
    ensure!(opened[0].plaintext == PLAINTEXT.as_bytes() && opened[2].plaintext.is_empty() && opened[4].version == 1);
    ensure!(opened[1].plaintext.is_empty());
    let wrong = decrypt(&reader, "other", &[first]).await?;
    ensure!(item_reason(&wrong[0]) == "INVALID_ARGUMENT", "another key's");
    ensure!(reason(decrypt(&reader, "absent", &[first]).await) == "NOT_FOUND_OR_DENIED");
    ensure!(vault.has_logged(r#""failed":"2""#).await?, "the record says how many failed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_leaves_what_was_encrypted_and_a_minimum_shuts_it_out() -> Result<()> {
    let (vault, admin) = vault().await?;
    let uses = ["transit/encrypt/payments", "transit/decrypt/payments", "transit/rewrap/payments"];
    let client = user(&vault, "api", &uses).await?;
    let old = encrypt(&client, vec![plain(PLAINTEXT)]).await?.remove(0).ciphertext;
    let rotate = async |key: &str| {
        let request = RotateTransitKeyRequest { path: "transit/keys/payments".into(), idempotency_key: key.into() };
        Ok::<_, Status>(admin.transit().rotate_transit_key(request).await?.into_inner().version)
    };
    ensure!(rotate("once").await? == 2 && rotate("once").await? == 2, "a repetition makes no third version");
    ensure!(decrypt(&client, "payments", &[&old]).await?[0].version == 1);
    let item = RewrapItem { ciphertext: old.clone(), ..Default::default() };
    let request = RewrapRequest { path: "transit/rewrap/payments".into(), items: vec![item] };
    let new = client.transit().rewrap(request).await?.into_inner().results.remove(0).ciphertext;
    ensure!(new.starts_with("coffer:v2:"), "{new}");
    let request =
        UpdateTransitKeyRequest { path: "transit/keys/payments".into(), min_decrypt_version: Some(2), ..Default::default() };
    admin.transit().update_transit_key(request).await?;
    let opened = decrypt(&client, "payments", &[&old, &new]).await?;
    ensure!(opened.iter().map(item_reason).eq(["INVALID_ARGUMENT", "OK"]), "{opened:?}");
    ensure!(opened[1].plaintext == PLAINTEXT.as_bytes());
    let path = || "transit/keys/payments".to_owned();
    let known = admin.transit().get_transit_key(GetTransitKeyRequest { path: path() }).await?.into_inner();
    ensure!(known.min_decrypt_version == 2 && known.versions.len() == 2 && !known.deletion_allowed);

    ensure!(reason(admin.transit().delete_transit_key(DeleteTransitKeyRequest { path: path() }).await) == "CONFLICT");
    let mount = || DeleteMountRequest { name: "transit".into(), ..Default::default() };
    ensure!(reason(admin.mounts().delete_mount(mount()).await) == "CONFLICT", "its key may not be deleted");
    let allow = UpdateTransitKeyRequest { path: path(), deletion_allowed: Some(true), ..Default::default() };
    admin.transit().update_transit_key(allow).await?;
    admin.transit().delete_transit_key(DeleteTransitKeyRequest { path: path() }).await?;
    ensure!(reason(decrypt(&client, "payments", &[&new]).await) == "NOT_FOUND");
    admin.mounts().delete_mount(mount()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_and_hmacs_are_made_and_checked() -> Result<()> {
    let (vault, admin) = vault().await?;
    let client = user(&vault, "api", &["transit/sign/**", "transit/verify/**", "transit/hmac/**"]).await?;
    for kind in ["ed25519", "ecdsa-p256", "ecdsa-p384", "hmac-sha256"] {
        create(&admin, kind, kind).await?;
        let message = || b"release 1.2.3".to_vec();
        let text = if kind == "hmac-sha256" {
            let items = vec![HmacItem { message: message(), version: 0 }];
            let request = HmacRequest { path: format!("transit/hmac/{kind}"), items };
            client.transit().hmac(request).await?.into_inner().results.remove(0).hmac
        } else {
            let items = vec![SignDataItem { message: message(), version: 0 }];
            let request = SignDataRequest { path: format!("transit/sign/{kind}"), items };
            client.transit().sign_data(request).await?.into_inner().results.remove(0).signature
        };
        let item = |message: Vec<u8>, signature: &str| VerifyDataItem { message, signature: signature.to_owned() };
        let items = vec![item(message(), &text), item(b"release 6.6.6".to_vec(), &text), item(message(), "nonsense")];
        let request = VerifyDataRequest { path: format!("transit/verify/{kind}"), items };
        let checked = client.transit().verify_data(request).await?.into_inner().results;
        ensure!(checked[0].valid && !checked[1].valid && checked[1].failure.is_none() && checked[2].failure.is_some(), "{kind}");
    }
    let request = EncryptRequest { path: "transit/encrypt/ed25519".into(), items: vec![plain("x")] };
    vault.grant(&["use"], "transit/encrypt/**", "k8s:test/shop/api").await?;
    ensure!(reason(client.transit().encrypt(request).await) == "INVALID_ARGUMENT", "a key that signs does not encrypt");
    let names = admin.transit().list_transit_keys(ListTransitKeysRequest { path: "transit/keys".into() }).await?;
    ensure!(names.into_inner().names == ["ecdsa-p256", "ecdsa-p384", "ed25519", "hmac-sha256", "payments"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_key_in_plain_needs_the_right_to_read() -> Result<()> {
    let (vault, _) = vault().await?;
    let client = user(&vault, "api", &["transit/datakey/payments", "transit/decrypt/payments", "transit/random"]).await?;
    let path = || "transit/datakey/payments".to_owned();
    let request = |key_bytes| CreateWrappedDataKeyRequest { path: path(), key_bytes, associated_data: Vec::new() };
    let wrapped = client.transit().create_wrapped_data_key(request(0)).await?.into_inner().ciphertext;
    ensure!(decrypt(&client, "payments", &[&wrapped]).await?[0].plaintext.len() == 32);
    for (bytes, expected) in [(15, "INVALID_ARGUMENT"), (16, "OK"), (64, "OK"), (65, "INVALID_ARGUMENT")] {
        ensure!(reason(client.transit().create_wrapped_data_key(request(bytes)).await) == expected, "{bytes}");
    }
    let plain = || CreateDataKeyRequest { path: path(), key_bytes: 16, associated_data: Vec::new() };
    ensure!(reason(client.transit().create_data_key(plain()).await) == "NOT_FOUND_OR_DENIED");
    vault.grant_read("transit/datakey/payments", "k8s:test/shop/api").await?;
    let key = client.transit().create_data_key(plain()).await?.into_inner();
    ensure!(key.receipt > 0 && key.plaintext.len() == 16);
    ensure!(decrypt(&client, "payments", &[&key.ciphertext]).await?[0].plaintext == key.plaintext);

    let most = u32::try_from(TRANSIT_RANDOM_BYTES_MAX)?;
    for (random_bytes, expected) in [(0, "LIMIT_EXCEEDED"), (1, "OK"), (most, "OK"), (most + 1, "LIMIT_EXCEEDED")] {
        let request = GetRandomRequest { path: "transit/random".into(), random_bytes };
        match client.transit().get_random(request).await {
            Ok(answer) => ensure!(expected == "OK" && answer.into_inner().random.len() == usize::try_from(random_bytes)?),
            Err(status) => ensure!(reason(Err::<(), _>(status)) == expected, "{random_bytes}"),
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_past_a_limit_are_refused_and_those_at_it_are_not() -> Result<()> {
    let (vault, admin) = vault().await?;
    let client = user(&vault, "api", &["transit/encrypt/payments", "transit/decrypt/payments"]).await?;
    ensure!(reason(encrypt(&client, Vec::new()).await) == "INVALID_ARGUMENT");
    let many = |count| std::iter::repeat_with(|| plain("x")).take(count).collect::<Vec<_>>();
    ensure!(encrypt(&client, many(TRANSIT_ITEMS_MAX)).await?.len() == TRANSIT_ITEMS_MAX);
    ensure!(reason(encrypt(&client, many(TRANSIT_ITEMS_MAX + 1)).await) == "LIMIT_EXCEEDED");
    let large = |bytes| vec![EncryptItem { plaintext: vec![b'x'; bytes], ..Default::default() }];
    ensure!(reason(encrypt(&client, large(TRANSIT_BYTES_MAX + 1)).await) == "LIMIT_EXCEEDED");
    let with_data = EncryptItem { plaintext: vec![b'x'; TRANSIT_BYTES_MAX], associated_data: vec![b'x'], version: 0 };
    ensure!(reason(encrypt(&client, vec![with_data]).await) == "LIMIT_EXCEEDED");
    let largest = encrypt(&client, large(TRANSIT_BYTES_MAX)).await?.remove(0).ciphertext;
    let opened = decrypt(&client, "payments", &[&largest]).await?;
    ensure!(opened[0].plaintext.len() == TRANSIT_BYTES_MAX, "what was encrypted can be decrypted");
    // As many as there may be, as large as they may be together.
    let part = TRANSIT_BYTES_MAX / TRANSIT_ITEMS_MAX;
    let all = encrypt(&client, std::iter::repeat_with(|| large(part).remove(0)).take(TRANSIT_ITEMS_MAX).collect()).await?;
    let texts: Vec<&str> = all.iter().map(|made| made.ciphertext.as_str()).collect();
    ensure!(decrypt(&client, "payments", &texts).await?.iter().all(|opened| opened.plaintext.len() == part));

    let import = |length| ImportTransitKeyRequest {
        path: "transit/keys/imported".into(),
        r#type: "aes256-gcm".into(),
        wrapped: vec![b'x'; length],
        ..Default::default()
    };
    ensure!(reason(admin.transit().import_transit_key(import(TRANSIT_WRAPPED_BYTES_MAX + 1)).await) == "LIMIT_EXCEEDED");
    ensure!(reason(admin.transit().import_transit_key(import(TRANSIT_WRAPPED_BYTES_MAX)).await) == "INVALID_ARGUMENT");
    ensure!(reason(create(&admin, "payments", "aes256-gcm").await) == "ALREADY_EXISTS");
    ensure!(reason(create(&admin, "more", "rot13").await) == "INVALID_ARGUMENT");
    for path in ["transit", "transit/keys", "transit/keys/a/b", "transit/encrypt/payments", "kv/keys/a", "absent/keys/a"] {
        let answer = admin.transit().get_transit_key(GetTransitKeyRequest { path: path.into() }).await;
        let told = reason(answer);
        ensure!(["PATH_INVALID", "INVALID_ARGUMENT", "NOT_FOUND"].contains(&told.as_str()), "{path}: {told}");
    }
    let first = all.first().context("there are some")?;
    ensure!(first.version == 1);
    Ok(())
}
