//! `coffer scan image --stored-values`: what the vault stores, as marks.

use coffer_client::proto::ListStoredMarksRequest;
use coffer_images::Stored;

use crate::{
    app::{App, answer},
    failure::Result,
    output::Progress,
    random::random,
};

/// Marks of all values that the vault stores, under a key of this scan's own.
pub(super) async fn marks(app: &App, signer: &str) -> Result<Stored> {
    let vault = app.vault()?;
    let attempt = vault.attempt(format!("look for what the vault stores as {signer}")).of("coffer signer list,");
    let key = random::<32>()?;
    let (mut stored, mut secrets, mut page_token) = (Stored::new(&key), 0_u64, String::new());
    let (mut service, mut progress) = (vault.client.gate(), Progress::new(&app.out));
    loop {
        let request = ListStoredMarksRequest { signer: signer.to_owned(), key: key.to_vec(), page_token };
        let page = answer(&attempt, service.list_stored_marks(request).await)?.into_inner();
        stored.add(&page.marks);
        secrets += u64::from(page.secrets);
        progress.say(|| format!("marks of {secrets} secrets"));
        if page.next_page_token.is_empty() {
            return Ok(stored);
        }
        page_token = page.next_page_token;
    }
}
