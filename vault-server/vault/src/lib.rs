//! The vault below its API: what there is between a request that has been understood and the barrier.
//!
//! [`Vault`] is the life of a vault (initialise, unseal, seal); [`Unsealed`] is a vault at work, and owns its keys:
//! operators, clusters, sessions, grants, secrets, and the audit trail. Changes are planned ([`Planned`]), committed
//! together with their audit record, and then take effect in memory. Nothing here knows gRPC.

mod clock;
mod clusters;
mod codec;
mod credentials;
mod databases;
mod epoch;
mod failure;
mod figures;
mod first;
mod gate;
mod grants;
mod idempotency;
mod keys;
mod leases;
mod lists;
mod login;
mod losses;
mod mounts;
mod operators;
mod pki;
mod planned;
mod pod_keys;
mod postures;
mod records;
mod rekey;
mod rewrap;
mod secrets;
mod service_accounts;
mod sessions;
mod snapshots;
mod static_roles;
mod table;
mod trail;
mod transit_keys;
mod unsealed;
mod upkeep;
mod vault;
mod watchers;

pub use clock::SystemClock;
pub use clusters::{ClusterRuntime, ClusterSettings};
pub use coffer_audit::log::Figures as AuditFigures;
pub use coffer_barrier::{Store, Term, seal::SealKind as VaultSealKind};
pub use coffer_engines::{database, kubernetes, kv, pki as certificates, transit};
pub use credentials::{BegunCredential, CredentialRequest, MadeCredential};
pub use databases::DatabasePath;
pub use failure::Failure;
pub use figures::{ClusterFigures, UnsealedFigures, VaultFigures};
pub use first::Beginning;
pub use gate::{
    AdvisoriesRecord, AdvisoryMatch, GatedGrant, GatedPod, Held, ImageFinding, ImagePackage, Imported, JudgedImage, Loss,
    NewImport, NewVerdict, PackageList, PackageSummary, Preview, PreviewedPod, Proposal, Revocation, Scan, ScanException,
    ScopeImport, SignerRecord, Standing, StoredMarks, Unsigned, VerdictRecord, Withheld,
};
pub use grants::NewGrant;
pub use idempotency::Idempotency;
pub use keys::Keyring;
pub use leases::{LeaseInfo, LeaseName, LeaseState, Renewed, Which};
pub use login::{LoginError, WorkloadLogin};
pub use mounts::{Engine, NewMount};
pub use operators::{NewOperator, etag, hash_password, parse_pins, roles_of};
pub use planned::{Planned, PolicyChange};
pub use postures::{JudgedPosture, PostureFindings, PostureInfo, PostureRecord, PostureReport, PostureState};
pub use records::{
    ApiServerRecord, ClusterRecord, GrantRecord, HolderRecord, KeySourceRecord, MountRecord, OperatorRecord, PodCheck,
    PolicyRecord, SessionRecord,
};
pub use rekey::{RekeyProgress, RekeyStep};
pub use rewrap::Rewrap;
pub use secrets::Newest;
pub use sessions::{Authenticated, NewSession};
pub use snapshots::{Recipients, RestoredVault, Restoring, SNAPSHOT_PIECES_MAX};
pub use static_roles::StaticRoleInfo;
pub use table::{Change, Row};
pub use trail::{AuditConfig, Outcome, Record, StoredRecord};
pub use transit_keys::{DataKey, Item, TransitPath};
pub use unsealed::{Status, Unsealed};
pub use vault::{
    BeginningSource, InitAnswer, Progress, Recovery, SealStatus, StaticKeySource, StaticKeys, Vault, VaultConfig, VaultError,
};
pub use watchers::Watcher;
