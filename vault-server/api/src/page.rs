//! Pages of lists: sizes within limits, and tokens that lead on and cannot be made up.

use coffer_core::{
    limits::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX},
    reason::Reason,
};
use coffer_vault::{Failure, Unsealed};

/// Where a page begins, and how long it is.
pub(crate) struct Page {
    size: usize,
    token: String,
}

impl Page {
    /// A page as a request asks for it.
    pub(crate) fn parse(size: u32, token: String) -> Result<Self, Failure> {
        let size = if size == 0 { PAGE_SIZE_DEFAULT } else { size };
        if size > PAGE_SIZE_MAX {
            return Err(Failure::told(Reason::LimitExceeded, format!("a page has at most {PAGE_SIZE_MAX} entries")));
        }
        let size = usize::try_from(size).map_err(|_| Failure::internal("a page's size does not fit"))?;
        Ok(Self { size, token })
    }

    /// Entries on the page.
    pub(crate) const fn size(&self) -> usize {
        self.size
    }

    /// The name that the page begins behind: empty for the first. `list` says which list it is of.
    pub(crate) fn after(&self, vault: &Unsealed, list: &str) -> Result<String, Failure> {
        if self.token.is_empty() {
            return Ok(String::new());
        }
        let refused = || Failure::new(Reason::PageTokenInvalid, "the page token is not one of this list");
        vault.open_page_token(list, &self.token).ok_or_else(refused)
    }

    /// The token of the page behind `last`, if there is one.
    pub(crate) fn next(vault: &Unsealed, list: &str, last: Option<&str>, more: bool) -> Result<String, Failure> {
        match last {
            Some(last) if more => vault.page_token(list, last),
            _ => Ok(String::new()),
        }
    }
}
