//! Marks of what is stored, for scans of those who attest.

use std::collections::BTreeMap;

use async_trait::async_trait;
use coffer_core::principal::Name;
use coffer_crypto::mark::MarkKey;
use coffer_proto::v1::{ListStoredMarksRequest, ListStoredMarksResponse};
use coffer_secret::SecretBytes;
use coffer_vault::{Failure, Planned};

use super::{attest::may_attest, convert};
use crate::{
    page::Page,
    pipeline::{Call, Operation},
    rpc::{self, Rpc},
};

/// What its page tokens are good for.
const LIST: &str = "stored marks";

pub(super) struct ListStoredMarks {
    signer: Name,
    key: MarkKey,
    page: Page,
}

#[async_trait]
impl Operation for ListStoredMarks {
    type Request = ListStoredMarksRequest;
    type Response = ListStoredMarksResponse;
    const RPC: Rpc = rpc::LIST_STORED_MARKS;

    fn parse(request: ListStoredMarksRequest) -> Result<Self, Failure> {
        let key = SecretBytes::from(request.key);
        let key = key.expose().try_into().map_err(|_| Failure::invalid("the key of marks has 32 bytes, at random"))?;
        let (signer, key) = (convert::name(&request.signer)?, MarkKey::new(key));
        Ok(Self { signer, key, page: Page::parse(0, request.page_token)? })
    }

    fn details(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("signer".to_owned(), self.signer.to_string())])
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<ListStoredMarksResponse>, Failure> {
        may_attest(call, &self.signer)?;
        let after = Some(self.page.after(&call.vault, LIST)?).filter(|after| !after.is_empty());
        let after = after.map(|after| after.parse()).transpose()?;
        let found = call.vault.stored_marks(&self.key, after.as_ref()).await?;
        call.record.detail("secrets", found.secrets);
        let last = found.last.as_ref().map(|path| path.as_str());
        Ok(Planned::read(ListStoredMarksResponse {
            marks: found.marks.concat(),
            secrets: convert::count(found.secrets),
            next_page_token: Page::next(&call.vault, LIST, last, last.is_some())?,
        }))
    }
}
