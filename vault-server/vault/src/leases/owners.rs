//! Owners that are gone: with them their credentials end.

use std::{sync::Arc, time::Duration};

use coffer_core::id::{ClusterId, OperatorId};
use coffer_kubernetes::{Known, PODS_MAX, PodState};

use super::{Owner, ending::Why, index::Index};
use crate::{Failure, Unsealed};

/// How often owners are looked at where nothing was told.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Between two looks: many pods go at once.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// Pods that are read at once of those that have credentials.
const PODS_AT_ONCE: usize = 1_000;

impl Unsealed {
    /// Ends what belongs to owners that are gone, as soon as that is known, until the vault is sealed.
    pub(crate) async fn end_with_owners(self: Arc<Self>) {
        let mut losses = self.session_losses();
        let mut all = true;
        loop {
            losses.borrow_and_update();
            let looked = tokio::select! {
                () = self.ending.cancelled() => return,
                looked = self.end_of_gone_owners(all) => looked,
            };
            if let Err(failure) = &looked {
                tracing::warn!(%failure, "whose credentials are to end cannot be looked for; trying again");
            }
            let next = async {
                tokio::time::sleep(BETWEEN_LOOKS).await;
                // An error is that of a vault that ends.
                tokio::time::timeout(LOOK_AGAIN, losses.changed()).await.is_err()
            };
            tokio::select! {
                () = self.ending.cancelled() => return,
                is_time = next => all = is_time || looked.is_err(),
            }
        }
    }

    /// All that can be gone is looked at, or pods only as far as they were told to be gone: there may be very many.
    async fn end_of_gone_owners(self: &Arc<Self>, all: bool) -> Result<(), Failure> {
        let index = Index(self.tenant.id);
        let gone = self.session_losses.take_gone();
        for cluster in self.barrier.children_once(&index.at([b"pod"])?).await? {
            let Ok(id) = <[u8; 16]>::try_from(cluster.name.as_slice()) else { continue };
            let id = ClusterId::from_bytes(id);
            let is_registered = self.clusters.all().iter().any(|(_, row)| row.value.id == id);
            if all || gone.others || !is_registered {
                let mut last = None;
                while let Some(pods) = self.some_pods(id, &mut last).await? {
                    for uid in pods {
                        if !is_registered || self.pod_state(id, &uid) == Some(PodState::Gone) {
                            self.end_all_of(&index.of_owner(&Owner::Pod(id, uid))?, Why::OwnerGone).await?;
                        }
                    }
                }
            } else {
                for uid in &gone.pods {
                    if self.pod_state(id, uid) == Some(PodState::Gone) {
                        self.end_all_of(&index.of_owner(&Owner::Pod(id, uid.to_string()))?, Why::OwnerGone).await?;
                    }
                }
            }
        }
        for operator in self.barrier.children_once(&index.at([b"operator"])?).await? {
            let Ok(id) = <[u8; 16]>::try_from(operator.name.as_slice()) else { continue };
            let id = OperatorId::from_bytes(id);
            if !self.operators.all().iter().any(|(_, row)| row.value.id == id) {
                self.end_all_of(&index.of_owner(&Owner::Operator(id))?, Why::OwnerGone).await?;
            }
        }
        Ok(())
    }

    /// Some of the pods of a cluster that have credentials, behind the last of those before; `None` at the end.
    async fn some_pods(&self, cluster: ClusterId, last: &mut Option<Vec<u8>>) -> Result<Option<Vec<String>>, Failure> {
        let directory = Index(self.tenant.id).at([b"pod".as_slice(), cluster.as_bytes()])?;
        let pods = self.barrier.some_children(&directory, last.as_deref(), PODS_AT_ONCE).await?;
        let Some(newest) = pods.last() else { return Ok(None) };
        *last = Some(newest.name.clone());
        Ok(Some(pods.into_iter().filter_map(|pod| String::from_utf8(pod.name).ok()).collect()))
    }

    /// What is known of a cluster before it is looked at: these pods had credentials, so if one of them is missing it is
    /// gone, unless that is said of so many that nobody would believe it.
    pub(crate) async fn known_pods(&self, cluster: ClusterId) -> Result<Known, Failure> {
        let (mut known, mut last) = (Vec::new(), None);
        while let Some(pods) = self.some_pods(cluster, &mut last).await? {
            known.extend(pods);
            if known.len() >= PODS_MAX {
                known.truncate(PODS_MAX);
                break;
            }
        }
        Ok(Known { cluster_uid: None, pods: known })
    }
}
