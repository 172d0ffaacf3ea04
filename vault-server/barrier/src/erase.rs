//! Erasing a directory whose name leads nowhere any more.

use coffer_store::{Transaction, Write};

use crate::{
    barrier::Barrier,
    error::BarrierError,
    key::RecordKey,
    listing::{PAGE_ENTRIES, range_below},
};

impl Barrier {
    /// Erases some of the records below a key, whatever they are; answers how many, none when all are gone. For a directory
    /// that nobody writes to any more.
    pub async fn erase_below(&self, directory: &RecordKey) -> Result<usize, BarrierError> {
        let (start, end) = range_below(&self.physical(directory).await?);
        let page = self.store().range(&start, &end, PAGE_ENTRIES).await?;
        let erased = page.len();
        if erased > 0 {
            let writes = page.into_iter().map(|entry| Write::Erase(entry.key)).collect();
            let _gate = self.pass().await;
            self.apply(Transaction { conditions: Vec::new(), writes }).await?;
        }
        Ok(erased)
    }
}
