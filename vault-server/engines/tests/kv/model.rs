//! Random requests against a model of the engine, with faults of the store in between. The seed is printed with a
//! failure; `COFFER_TEST_SEED` repeats it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use coffer_barrier::{Barrier, BarrierError, Expect, RecordKey, Scope, Store};
use coffer_core::clock::Timestamp;
use coffer_crypto::random;
use coffer_engines::{
    Planned,
    kv::{KvError, Name, PutRequest, Settings, SettingsChange, VersionInfo, VersionState},
};
use coffer_secret::SecretBytes;
use coffer_store::faulty::{FaultPlan, FaultyStore};
use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::select,
    test_runner::{Config, RngSeed, TestRunner},
};

use crate::common::{KV, NOW, alice, path, shown, unsealed, vault};

const PATHS: &[&str] = &["kv/a", "kv/a/b", "kv/c/d"];
const FOLDERS: &[&str] = &["kv", "kv/a", "kv/c", "kv/x"];

type ModelFields = BTreeMap<String, String>;

#[derive(Debug, Clone)]
enum Request {
    Put { fields: ModelFields, expected: Option<u64>, merge: bool, ttl_secs: Option<u64> },
    Settings(Settings),
    Delete(Vec<u64>),
    Undelete(Vec<u64>),
    DestroyVersions(Vec<u64>),
    Destroy,
}

/// What becomes of a request's commit.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    Before,
    After,
}

#[derive(Debug, Clone)]
struct Step {
    path: &'static str,
    request: Request,
    fault: Option<Fault>,
    then_secs: u64,
}

/// A secret, as simple as can be: every version ever written, and what became of it.
#[derive(Debug, Clone, Default, PartialEq)]
struct ModelSecret {
    created: Timestamp,
    versions: Vec<ModelVersion>,
    settings: Settings,
}

#[derive(Debug, Clone, PartialEq)]
struct ModelVersion {
    created: Timestamp,
    expires: Option<Timestamp>,
    /// Live or soft-deleted; `None` where it was destroyed.
    fields: Option<ModelFields>,
    deleted: bool,
    expired: bool,
    /// Pushed out by newer ones: no longer listed.
    dropped: bool,
}

impl ModelVersion {
    fn state(&self, now: Timestamp) -> VersionState {
        if self.fields.is_none() {
            VersionState::Destroyed
        } else if self.expired || self.expires.is_some_and(|end| end <= now) {
            VersionState::Expired
        } else if self.deleted {
            VersionState::Deleted
        } else {
            VersionState::Live
        }
    }
}

#[derive(Debug, PartialEq)]
enum Refusal {
    NotFound,
    Gone(VersionState),
    Version(u64),
    CasRequired,
}

type Model = BTreeMap<&'static str, ModelSecret>;

impl ModelSecret {
    fn kept(&self) -> usize {
        usize::try_from(if self.settings.max_versions == 0 { 10 } else { self.settings.max_versions }).unwrap()
    }

    /// What every change brings with it.
    fn settle(&mut self, now: Timestamp) {
        let listed = self.versions.iter().filter(|version| !version.dropped).count();
        let too_many = listed.saturating_sub(self.kept());
        for version in self.versions.iter_mut().filter(|version| !version.dropped).take(too_many) {
            version.dropped = true;
            version.fields = None;
        }
        for version in &mut self.versions {
            version.expired |= version.expires.is_some_and(|end| end <= now);
        }
    }

    fn version(&mut self, number: u64) -> Result<&mut ModelVersion, Refusal> {
        let at = usize::try_from(number).unwrap().checked_sub(1).ok_or(Refusal::NotFound)?;
        self.versions.get_mut(at).ok_or(Refusal::NotFound)
    }

    fn put(
        &mut self,
        mut fields: ModelFields,
        expected: Option<u64>,
        merge: bool,
        ttl: Option<u64>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let newest = u64::try_from(self.versions.len()).unwrap();
        match expected {
            None if self.settings.cas_required => return Err(Refusal::CasRequired),
            Some(0) if self.versions.iter().any(|version| version.fields.is_some()) => return Err(Refusal::Version(newest)),
            Some(expected) if expected != 0 && expected != newest => return Err(Refusal::Version(newest)),
            _ => {}
        }
        if let Some(last) = self.versions.last().filter(|_| merge) {
            if last.state(now) != VersionState::Live {
                return Err(Refusal::Gone(last.state(now)));
            }
            let mut merged = last.fields.clone().unwrap();
            merged.extend(fields);
            fields = merged;
        }
        self.versions.push(ModelVersion {
            created: now,
            expires: ttl.map(|secs| now.plus(Duration::from_secs(secs))),
            fields: Some(fields),
            deleted: false,
            expired: false,
            dropped: false,
        });
        Ok(())
    }
}

/// What a request makes of the model.
fn apply(model: &mut Model, step: &Step, now: Timestamp) -> Result<(), Refusal> {
    let fresh = ModelSecret { created: now, ..ModelSecret::default() };
    let mut secret = match (model.get(step.path), &step.request) {
        (Some(secret), _) => secret.clone(),
        (None, Request::Put { .. } | Request::Settings(_)) => fresh,
        (None, _) => return Err(Refusal::NotFound),
    };
    match step.request.clone() {
        Request::Put { fields, expected, merge, ttl_secs } => secret.put(fields, expected, merge, ttl_secs, now)?,
        Request::Settings(settings) => secret.settings = settings,
        Request::Delete(mut numbers) => {
            if numbers.is_empty() {
                numbers.push(u64::try_from(secret.versions.len()).unwrap());
            }
            for number in numbers {
                secret.version(number)?.deleted = true;
            }
        }
        Request::Undelete(numbers) => {
            for number in numbers {
                let version = secret.version(number)?;
                match version.state(now) {
                    VersionState::Live | VersionState::Deleted => version.deleted = false,
                    state => return Err(Refusal::Gone(state)),
                }
            }
        }
        Request::DestroyVersions(numbers) => {
            for number in numbers {
                secret.version(number)?.fields = None;
            }
        }
        Request::Destroy => {
            model.remove(step.path);
            return Ok(());
        }
    }
    secret.settle(now);
    model.insert(step.path, secret);
    Ok(())
}

/// The same on the real engine. A record of the caller's own goes into the same transaction.
async fn run(barrier: &Barrier, step: &Step, number: usize, now: Timestamp) -> Result<(), KvError> {
    let at = path(step.path);
    let Planned { mut batch, .. } = match step.request.clone() {
        Request::Put { fields, expected, merge, ttl_secs } => {
            let fields = fields.into_iter().map(|(name, value)| (name, SecretBytes::from(value.into_bytes()))).collect();
            let request = PutRequest { fields, expected, merge, ttl_secs };
            let Planned { batch, .. } = KV.put(barrier, &at, request, &alice(), now).await?;
            Planned { batch, outcome: () }
        }
        Request::Settings(settings) => {
            let change = SettingsChange { settings, etag: None };
            let Planned { batch, .. } = KV.put_metadata(barrier, &at, change, now).await?;
            Planned { batch, outcome: () }
        }
        Request::Delete(versions) => KV.delete_versions(barrier, &at, &versions, now).await?,
        Request::Undelete(versions) => KV.undelete_versions(barrier, &at, &versions, now).await?,
        Request::DestroyVersions(versions) => KV.destroy_versions(barrier, &at, &versions, now).await?,
        Request::Destroy => KV.destroy(barrier, &at, None).await?,
    };
    batch.put(beside(number), Expect::Absent, SecretBytes::default());
    barrier.commit(batch).await?;
    Ok(())
}

fn beside(number: usize) -> RecordKey {
    RecordKey::new(Scope::System, [number.to_be_bytes()]).unwrap()
}

fn refusal(error: &KvError) -> Refusal {
    match error {
        KvError::NotFound => Refusal::NotFound,
        KvError::Gone { state, .. } => Refusal::Gone(*state),
        KvError::Version { newest } => Refusal::Version(*newest),
        KvError::CasRequired => Refusal::CasRequired,
        other => panic!("{other}"),
    }
}

/// That the engine, seen through a barrier of its own, is where the model is.
async fn check(barrier: &Barrier, model: &Model, now: Timestamp) {
    let mut values = 0;
    for at in PATHS {
        let metadata = KV.metadata(barrier, &path(at), now).await;
        let Some(secret) = model.get(at) else {
            assert!(matches!(metadata, Err(KvError::NotFound)), "{at}: {metadata:?}");
            continue;
        };
        let metadata = metadata.unwrap();
        let all = (1_u64..).zip(&secret.versions);
        let listed = all.clone().filter(|(_, version)| !version.dropped).map(|(number, version)| VersionInfo {
            version: number,
            created: version.created,
            created_by: "operator:alice".into(),
            state: version.state(now),
            expires: version.expires,
        });
        assert_eq!(metadata.versions, listed.collect::<Vec<_>>(), "{at}");
        assert_eq!((metadata.newest_version, metadata.created), (all.clone().count().try_into().unwrap(), secret.created));
        let max_versions = secret.kept().try_into().unwrap();
        assert_eq!(metadata.settings, Settings { max_versions, ..secret.settings.clone() });
        for (number, version) in all.clone() {
            let read = KV.get(barrier, &path(at), Some(number), now).await;
            match version.state(now) {
                VersionState::Live => {
                    let expected: Vec<_> = version.fields.iter().flatten().map(|(a, b)| (a.as_str(), b.as_str())).collect();
                    assert_eq!(shown(&read.unwrap().fields), expected, "{at} {number}");
                }
                gone => assert_eq!(refusal(&read.unwrap_err()), Refusal::Gone(gone), "{at} {number}"),
            }
            values += usize::from(version.fields.is_some() && !version.expired);
        }
        let newest = KV.get(barrier, &path(at), None, now).await.map(|secret| secret.version.version);
        match all.last().map(|(number, version)| (number, version.state(now))) {
            None => assert_eq!(refusal(&newest.unwrap_err()), Refusal::NotFound),
            Some((number, VersionState::Live)) => assert_eq!(newest.unwrap(), number),
            Some((_, gone)) => assert_eq!(refusal(&newest.unwrap_err()), Refusal::Gone(gone)),
        }
    }
    for folder in FOLDERS {
        let mut names = BTreeMap::<String, Name>::new();
        for rest in model.keys().filter_map(|at| at.strip_prefix(folder)?.strip_prefix('/')) {
            let (name, below) = rest.split_once('/').map_or((rest, false), |(name, _)| (name, true));
            let empty = Name { name: name.to_owned(), secret: false, folder: false };
            let entry = names.entry(name.to_owned()).or_insert(empty);
            entry.secret |= !below;
            entry.folder |= below;
        }
        let page = KV.list(barrier, &path(folder), None, 100).await.unwrap();
        assert_eq!(page.names, names.into_values().collect::<Vec<_>>(), "{folder}");
    }
    // No value is left behind: data directories hold the model's values and nothing else.
    let base = KV.name_key(&path("kv")).unwrap();
    let data = RecordKey::new(base.scope(), base.segments().take(2).chain([b"d".as_slice()])).unwrap();
    let mut stored = 0;
    for secret in barrier.children(&data).await.unwrap().iter() {
        stored += barrier.children(&data.child(&secret.name).unwrap()).await.unwrap().len();
    }
    assert_eq!(stored, values);
}

async fn play(steps: Vec<Step>) {
    let (store, mut barrier) = vault().await;
    let (mut model, mut now) = (Model::new(), NOW);
    for (number, step) in steps.iter().enumerate() {
        let mut after = model.clone();
        let expected = apply(&mut after, step, now);
        let written = match step.fault {
            None => {
                let result = run(&barrier, step, number, now).await;
                assert_eq!(result.map_err(|error| refusal(&error)), expected, "{step:?}");
                expected.is_ok()
            }
            Some(fault) => {
                let written = faulted(&store, step, number, now, fault, &expected).await;
                // Another barrier wrote: as after a restart, since one server works on a store at a time.
                barrier = unsealed(Arc::clone(&store)).await;
                written
            }
        };
        if written {
            model = after;
        }
        let record = barrier.get(&beside(number)).await.unwrap();
        assert_eq!(record.is_some(), written, "the caller's record is written with the change, or not at all");
        check(&barrier, &model, now).await;
        now = now.plus(Duration::from_secs(step.then_secs));
        check(&barrier, &model, now).await;
    }
}

/// A request whose commit fails; whether it was written all the same.
async fn faulted(
    store: &Arc<dyn Store>,
    step: &Step,
    number: usize,
    now: Timestamp,
    fault: Fault,
    expected: &Result<(), Refusal>,
) -> bool {
    let plan = FaultPlan::parse(if fault == Fault::Before { "commit:1:before" } else { "commit:1:after" }).unwrap();
    let barrier = unsealed(Arc::new(FaultyStore::new(Arc::clone(store), plan))).await;
    let error = run(&barrier, step, number, now).await.unwrap_err();
    match (expected, fault, &error) {
        (Err(expected), _, error) => {
            assert_eq!(&refusal(error), expected);
            false
        }
        (Ok(()), Fault::Before, KvError::Barrier(BarrierError::Unavailable(_))) => false,
        (Ok(()), Fault::After, KvError::Barrier(BarrierError::Unknown(_))) => true,
        _ => panic!("{step:?}: {error}"),
    }
}

fn numbers() -> impl Strategy<Value = Vec<u64>> {
    prop_oneof![4 => vec(1_u64..5, 1..3), 1 => vec(0_u64..9, 1..4)]
}

fn request() -> impl Strategy<Value = Request> {
    let fields = btree_map("[xyz]", "[a-z]{0,3}", 1..3);
    let expected = option::weighted(0.3, 0_u64..6);
    let put = (fields, expected, prop::bool::weighted(0.3), option::weighted(0.3, 1_u64..20));
    let put = put.prop_map(|(fields, expected, merge, ttl_secs)| Request::Put { fields, expected, merge, ttl_secs });
    let settings = (btree_map("[kl]", "[a-z]{0,3}", 0..3), 0_u32..4, prop::bool::weighted(0.2));
    let settings = settings.prop_map(|(custom_metadata, max_versions, cas_required)| Settings {
        custom_metadata,
        max_versions,
        cas_required,
    });
    prop_oneof![
        10 => put,
        2 => settings.prop_map(Request::Settings),
        3 => prop_oneof![numbers(), Just(Vec::new())].prop_map(Request::Delete),
        1 => numbers().prop_map(Request::Undelete),
        2 => numbers().prop_map(Request::DestroyVersions),
        1 => Just(Request::Destroy),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let fault = option::weighted(0.3, select(&[Fault::Before, Fault::After][..]));
    let at = prop_oneof![4 => Just(PATHS[0]), 1 => select(PATHS)];
    let step = (at, request(), fault, prop_oneof![3 => Just(0), 1 => 1_u64..30]);
    step.prop_map(|(path, request, fault, then_secs)| Step { path, request, fault, then_secs })
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the seed of a run that is to be repeated comes from outside")]
fn the_engine_does_what_the_model_does() {
    let given = std::env::var("COFFER_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from_be_bytes(random::bytes().unwrap()));
    println!("COFFER_TEST_SEED={seed}");
    let config = Config { cases: 64, rng_seed: RngSeed::Fixed(seed), failure_persistence: None, ..Config::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let result = TestRunner::new(config).run(&vec(step(), 1..40), |steps| {
        runtime.block_on(play(steps));
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
