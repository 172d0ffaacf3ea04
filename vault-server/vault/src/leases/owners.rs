//! Owners that are gone: with them their credentials end.

use std::{sync::Arc, time::Duration};

use coffer_core::id::{ClusterId, OperatorId};
use coffer_kubernetes::{Known, PODS_MAX, PodState};

use super::{Owner, ending::Why, index::Index};
use crate::{Failure, Unsealed};

/// How often owners are looked at where nothing was told.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Between two looks at all of them: many pods go at once.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

impl Unsealed {
    /// Ends what belongs to owners that are gone, as soon as that is known, until the vault is sealed.
    pub(crate) async fn end_with_owners(self: Arc<Self>) {
        let mut losses = self.session_losses();
        loop {
            losses.borrow_and_update();
            let looked = tokio::select! {
                () = self.ending.cancelled() => return,
                looked = self.end_of_gone_owners() => looked,
            };
            if let Err(failure) = looked {
                tracing::warn!(%failure, "whose credentials are to end cannot be looked for; trying again");
            }
            let next = async {
                tokio::time::sleep(BETWEEN_LOOKS).await;
                // An error is that of a vault that ends.
                drop(tokio::time::timeout(LOOK_AGAIN, losses.changed()).await);
            };
            tokio::select! {
                () = self.ending.cancelled() => return,
                () = next => {}
            }
        }
    }

    async fn end_of_gone_owners(self: &Arc<Self>) -> Result<(), Failure> {
        let index = Index(self.tenant.id);
        for cluster in self.barrier.children_once(&index.at([b"pod"])?).await? {
            let Ok(id) = <[u8; 16]>::try_from(cluster.name.as_slice()) else { continue };
            let id = ClusterId::from_bytes(id);
            let is_registered = self.clusters.all().iter().any(|(_, row)| row.value.id == id);
            for owner in self.pod_owners(id).await? {
                let Owner::Pod(_, uid) = &owner else { continue };
                if !is_registered || self.pod_state(id, uid) == Some(PodState::Gone) {
                    self.end_all_of(&index.of_owner(&owner)?, Why::OwnerGone).await?;
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

    /// The pods of a cluster that have credentials.
    async fn pod_owners(&self, cluster: ClusterId) -> Result<Vec<Owner>, Failure> {
        let directory = Index(self.tenant.id).at([b"pod".as_slice(), cluster.as_bytes()])?;
        let pods = self.barrier.children_once(&directory).await?;
        let uid = |name: &Vec<u8>| String::from_utf8(name.clone()).ok();
        Ok(pods.iter().filter_map(|pod| Some(Owner::Pod(cluster, uid(&pod.name)?))).collect())
    }

    /// What is known of a cluster before it is looked at: these pods had credentials, so if one of them is missing it is
    /// gone, unless that is said of so many that nobody would believe it.
    pub(crate) async fn known_pods(&self, cluster: ClusterId) -> Result<Known, Failure> {
        let pods = self.pod_owners(cluster).await?.into_iter().filter_map(|owner| match owner {
            Owner::Pod(_, uid) => Some(uid),
            Owner::Operator(_) => None,
        });
        Ok(Known { cluster_uid: None, pods: pods.take(PODS_MAX).collect() })
    }
}
