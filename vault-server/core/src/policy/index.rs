//! Which grants and policies can matter to a request: found by principal and path, instead of asking all of them.
//!
//! What is left out here could only have said nothing: its scope names neither the caller (or what the caller is in) nor
//! the path (or what the path is in).

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use cedar_policy::{Policy, PolicyId, PolicySet, PrincipalConstraint, ResourceConstraint};
use serde_json::Value;

use crate::id::GrantId;

use super::{
    Grant,
    entity::{self, Kind, Node},
};

/// Parts of the index that are copied on their own when a grant comes or goes.
const SHARDS: usize = 256;

/// Grants by principal and path. A clone shares everything, until it is changed.
#[derive(Clone)]
pub(super) struct Grants {
    hasher: RandomState,
    by_scope: Vec<Arc<HashMap<String, Vec<Arc<Grant>>>>>,
    by_id: Vec<Arc<HashMap<GrantId, Arc<Grant>>>>,
    len: usize,
    /// How many have conditions.
    conditional: usize,
}

impl Grants {
    pub(super) fn new() -> Self {
        let (by_scope, by_id) = (vec![Arc::default(); SHARDS], vec![Arc::default(); SHARDS]);
        Self { hasher: RandomState::new(), by_scope, by_id, len: 0, conditional: 0 }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// How many have conditions.
    pub(super) const fn conditional(&self) -> usize {
        self.conditional
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.by_id.iter().flat_map(|shard| shard.values()).map(|grant| &**grant)
    }

    pub(super) fn by_id(&self, id: &GrantId) -> Option<&Grant> {
        self.by_id.get(self.shard(id))?.get(id).map(|grant| &**grant)
    }

    /// Adds a grant, unless there is one of its id.
    pub(super) fn insert(&mut self, grant: Grant) -> bool {
        let (by_id, key) = (self.shard(&grant.id), scope(&grant));
        let by_scope = self.shard(&key);
        let Some(shard) = self.by_id.get_mut(by_id) else { return false };
        if shard.contains_key(&grant.id) {
            return false;
        }
        self.conditional += usize::from(!grant.require.is_empty());
        let grant = Arc::new(grant);
        Arc::make_mut(shard).insert(grant.id, Arc::clone(&grant));
        if let Some(shard) = self.by_scope.get_mut(by_scope) {
            Arc::make_mut(shard).entry(key).or_default().push(grant);
        }
        self.len += 1;
        true
    }

    /// Takes a grant away, if it is there.
    pub(super) fn remove(&mut self, id: &GrantId) {
        let by_id = self.shard(id);
        let Some(grant) =
            self.by_id.get_mut(by_id).filter(|shard| shard.contains_key(id)).and_then(|shard| Arc::make_mut(shard).remove(id))
        else {
            return;
        };
        let key = scope(&grant);
        let by_scope = self.shard(&key);
        if let Some(shard) = self.by_scope.get_mut(by_scope).map(Arc::make_mut) {
            if let Some(grants) = shard.get_mut(&key) {
                grants.retain(|grant| grant.id != *id);
            }
            shard.retain(|_, grants| !grants.is_empty());
        }
        self.len -= 1;
        self.conditional -= usize::from(!grant.require.is_empty());
    }

    /// The grants whose scope the request is in.
    pub(super) fn candidates<'a>(&'a self, principals: &[Node], resources: &[Node]) -> Vec<&'a Grant> {
        let mut found = Vec::new();
        let mut key = String::new();
        for principal in principals {
            // A grant is for one path, or for all below a folder: the folders of a path are nodes of their own.
            for (at, resource) in resources.iter().enumerate() {
                if at == 0 || resource.kind == Kind::Folder {
                    write_key(&mut key, principal, resource);
                    let grants = self.by_scope.get(self.shard(&key)).and_then(|shard| shard.get(key.as_str()));
                    found.extend(grants.into_iter().flatten().map(|grant| &**grant));
                }
            }
        }
        found
    }

    fn shard<K: std::hash::Hash + ?Sized>(&self, key: &K) -> usize {
        usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0)
    }
}

fn scope(grant: &Grant) -> String {
    let mut key = String::new();
    write_key(&mut key, &entity::principal_pattern_node(&grant.principal), &entity::path_pattern_node(&grant.path));
    key
}

/// Neither names nor paths have line breaks, so that two scopes never have one key.
fn write_key(key: &mut String, principal: &Node, resource: &Node) {
    key.clear();
    for part in [principal.kind.name(), "\n", &principal.id, "\n", resource.kind.name(), "\n", &resource.id] {
        key.push_str(part);
    }
}

/// Policies that were written as text, by what their scopes name.
#[derive(Default)]
pub(super) struct Texts {
    /// By principal, then by resource.
    by_scope: Scoped<Scoped<Bucket>>,
    all: HashMap<PolicyId, Policy>,
    /// Those that look at what is known of pods, images and nodes, and whether they look at nodes.
    of_facts: HashMap<PolicyId, bool>,
}

/// What is found by the node that a scope names, or for a scope that leaves it open.
#[derive(Default)]
struct Scoped<T> {
    named: HashMap<Node, T>,
    open: T,
}

impl<T: Default> Scoped<T> {
    fn place(&mut self, node: Option<Node>) -> &mut T {
        match node {
            Some(node) => self.named.entry(node).or_default(),
            None => &mut self.open,
        }
    }

    /// What concerns one of these.
    fn of(&self, nodes: &[Node]) -> impl Iterator<Item = &T> {
        nodes.iter().filter_map(|node| self.named.get(node)).chain([&self.open])
    }
}

/// Policies with one scope.
#[derive(Default)]
pub(super) struct Bucket {
    pub(super) set: PolicySet,
    /// Whether one of them looks at the time, so that its decision holds for this moment only.
    pub(super) reads_now: bool,
    /// Whether one of them looks at what is known of pods, images and nodes.
    pub(super) reads_facts: bool,
}

impl Texts {
    /// Adds a policy; none where there is one of its id.
    pub(super) fn insert(&mut self, policy: Policy) -> Option<()> {
        let principal = match policy.principal_constraint() {
            PrincipalConstraint::Any | PrincipalConstraint::Is(_) => None,
            PrincipalConstraint::In(uid) | PrincipalConstraint::Eq(uid) | PrincipalConstraint::IsIn(_, uid) => Node::of(&uid),
        };
        let resource = match policy.resource_constraint() {
            ResourceConstraint::Any | ResourceConstraint::Is(_) => None,
            ResourceConstraint::In(uid) | ResourceConstraint::Eq(uid) | ResourceConstraint::IsIn(_, uid) => Node::of(&uid),
        };
        let bucket = self.by_scope.place(principal).place(resource);
        let json = policy.to_json().ok();
        let reads = |attributes: &[&str]| json.as_ref().is_none_or(|json| reads_any(json, attributes));
        let reads_facts = reads(FACTS);
        bucket.reads_now |= reads(&["now"]);
        bucket.reads_facts |= reads_facts;
        bucket.set.add(policy.clone()).ok()?;
        if reads_facts {
            self.of_facts.insert(policy.id().clone(), reads(&["host"]));
        }
        self.all.insert(policy.id().clone(), policy);
        Some(())
    }

    /// Whether one of them looks at what is known of pods, images and nodes.
    pub(super) fn reads_facts(&self) -> bool {
        !self.of_facts.is_empty()
    }

    /// Whether this one looks at nodes; none where it looks at none of these.
    pub(super) fn looks_at_nodes(&self, id: &PolicyId) -> Option<bool> {
        self.of_facts.get(id).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Policy> {
        self.all.values()
    }

    pub(super) fn by_id(&self, id: &PolicyId) -> Option<&Policy> {
        self.all.get(id)
    }

    /// The policies whose scope the request is in.
    pub(super) fn candidates(&self, principals: &[Node], resources: &[Node]) -> Vec<&Bucket> {
        let buckets = self.by_scope.of(principals).flat_map(|by_resource| by_resource.of(resources));
        buckets.filter(|bucket| !bucket.set.is_empty()).collect()
    }
}

/// Attributes of the context that are facts about the pod that asks, and change while it lives.
const FACTS: &[&str] = &["image", "host", "workload"];

/// Whether an expression can depend on one of these attributes of the context: it names one, or takes the context as a whole.
fn reads_any(expression: &Value, attributes: &[&str]) -> bool {
    match expression {
        Value::Object(map) => {
            if map.get("Var").is_some_and(|var| var == "context") {
                return true;
            }
            let attribute = map.get(".").and_then(|access| Some((access.get("left")?, access.get("attr")?.as_str()?)));
            match attribute {
                Some((left, attribute)) if left.get("Var").is_some_and(|var| var == "context") => attributes.contains(&attribute),
                _ => map.values().any(|value| reads_any(value, attributes)),
            }
        }
        Value::Array(values) => values.iter().any(|value| reads_any(value, attributes)),
        _ => false,
    }
}
