//! What roles and bindings of Kubernetes come to (RBAC, `rbac.authorization.k8s.io/v1`), as its API server decides.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::Deserialize;
use serde_json::Value;

/// Roles and bindings that are read, at most.
pub const RBAC_OBJECTS_MAX: usize = 50_000;
/// Who may do everything, whatever roles say.
pub(crate) const MASTERS: &str = "system:masters";

/// Why roles and bindings cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessError(pub(crate) String);

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AccessError {}

/// Whom a binding names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A user.
    User(String),
    /// Everybody in a group.
    Group(String),
    /// A service account: its namespace and its name.
    ServiceAccount(String, String),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "User {name}"),
            Self::Group(name) => write!(f, "Group {name}"),
            Self::ServiceAccount(namespace, name) => write!(f, "ServiceAccount {namespace}/{name}"),
        }
    }
}

/// Where something is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// In no namespace, or in all of them at once.
    Cluster,
    /// In a namespace.
    Namespace(&'a str),
    /// In one namespace or another.
    Anywhere,
}

/// What is asked of the API server.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The verb: `create`.
    pub verb: &'a str,
    /// The group of the resource; empty for the core's.
    pub group: &'a str,
    /// The resource, with its part: `pods/exec`.
    pub resource: &'a str,
    /// Where.
    pub place: Place<'a>,
    /// The object's name, where it is one.
    pub name: Option<&'a str>,
}

/// Somebody who may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed<'a> {
    /// Whom the binding names.
    pub subject: &'a Subject,
    /// The role, and the binding that gives it.
    pub by: String,
    /// The binding's name.
    pub(crate) binding: &'a str,
    /// The objects that it is for; empty for all.
    pub names: BTreeSet<&'a str>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    api_groups: Option<Vec<String>>,
    resources: Option<Vec<String>>,
    resource_names: Option<Vec<String>>,
    verbs: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RoleObject {
    metadata: Metadata,
    rules: Option<Vec<Rule>>,
    aggregation_rule: Option<Aggregation>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    name: String,
    namespace: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Aggregation {
    cluster_role_selectors: Option<Vec<Selector>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Selector {
    match_labels: Option<BTreeMap<String, String>>,
    match_expressions: Option<Vec<Expression>>,
}

#[derive(Debug, Deserialize)]
struct Expression {
    key: String,
    operator: String,
    values: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BindingObject {
    metadata: Metadata,
    role_ref: RoleRef,
    subjects: Option<Vec<SubjectObject>>,
}

#[derive(Debug, Deserialize)]
struct RoleRef {
    kind: String,
    name: String,
}

#[derive(Debug, Deserialize)]
struct SubjectObject {
    kind: String,
    name: String,
    namespace: Option<String>,
}

#[derive(Debug)]
struct Binding {
    /// Where it holds; everywhere where it is none.
    namespace: Option<String>,
    name: String,
    role: RoleRef,
    subjects: Vec<Subject>,
}

/// The roles and bindings of a cluster.
#[derive(Debug, Default)]
pub struct Rbac {
    cluster_roles: BTreeMap<String, RoleObject>,
    roles: BTreeMap<(String, String), RoleObject>,
    bindings: Vec<Binding>,
}

impl Rbac {
    /// Reads roles and bindings: objects, or lists of them as `kubectl get -o json` gives them. Objects of other kinds say nothing.
    ///
    /// # Errors
    /// Where one of them cannot be read, or there are more than [`RBAC_OBJECTS_MAX`].
    pub fn read(documents: &[Value]) -> Result<Self, AccessError> {
        let mut rbac = Self::default();
        for document in documents {
            match document.get("items").and_then(Value::as_array) {
                Some(items) => items.iter().try_for_each(|item| rbac.add(item))?,
                None => rbac.add(document)?,
            }
        }
        Ok(rbac)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cluster_roles.len() + self.roles.len() + self.bindings.len()
    }

    /// Whether there are none: then it is not known who may what.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn add(&mut self, object: &Value) -> Result<(), AccessError> {
        let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("(without a name)");
        let wrong = |error: serde_json::Error| AccessError(format!("{kind} {name} cannot be read: {error}"));
        match kind {
            "ClusterRole" | "Role" => {
                let role = RoleObject::deserialize(object).map_err(wrong)?;
                match role.metadata.namespace.clone().filter(|_| kind == "Role") {
                    Some(namespace) => drop(self.roles.insert((namespace, role.metadata.name.clone()), role)),
                    None if kind == "Role" => return Err(AccessError(format!("Role {name} is in no namespace"))),
                    None => drop(self.cluster_roles.insert(role.metadata.name.clone(), role)),
                }
            }
            "ClusterRoleBinding" | "RoleBinding" => {
                let BindingObject { metadata, role_ref, subjects } = BindingObject::deserialize(object).map_err(wrong)?;
                let namespace = metadata.namespace.filter(|_| kind == "RoleBinding");
                if kind == "RoleBinding" && namespace.is_none() {
                    return Err(AccessError(format!("RoleBinding {name} is in no namespace")));
                }
                let subjects = subjects.unwrap_or_default().into_iter().filter_map(SubjectObject::read).collect();
                self.bindings.push(Binding { namespace, name: metadata.name, role: role_ref, subjects });
            }
            _ => return Ok(()),
        }
        match self.len() > RBAC_OBJECTS_MAX {
            true => Err(AccessError(format!("there are more than {RBAC_OBJECTS_MAX} roles and bindings"))),
            false => Ok(()),
        }
    }

    /// Whether somebody may, with all that a binding could name them by. `user` is a name as the API server knows it, and `groups` are
    /// all of theirs, those that everybody has among them.
    #[must_use]
    pub fn can(&self, user: &str, groups: &[&str], request: &Request<'_>) -> bool {
        let is_them = |subject: &Subject| match subject {
            Subject::User(name) => name == user,
            Subject::Group(name) => groups.contains(&name.as_str()),
            Subject::ServiceAccount(namespace, name) => user == format!("system:serviceaccount:{namespace}:{name}"),
        };
        groups.contains(&MASTERS) || self.who(request).iter().any(|allowed| allowed.names.is_empty() && is_them(allowed.subject))
    }

    /// Everybody whom a binding lets do this: a subject once for each binding. Those of `system:masters`, who may everything, are in none.
    #[must_use]
    pub fn who(&self, request: &Request<'_>) -> Vec<Allowed<'_>> {
        let mut allowed = Vec::new();
        for binding in self.bindings.iter().filter(|binding| binding.holds_in(request.place)) {
            let Some(names) = self.reach(binding, request) else { continue };
            let place = binding.namespace.as_ref().map_or_else(
                || format!("ClusterRoleBinding {}", binding.name),
                |namespace| format!("RoleBinding {namespace}/{}", binding.name),
            );
            let by = format!("{} {}, {place}", binding.role.kind, binding.role.name);
            let of_subject = |subject| Allowed { subject, by: by.clone(), binding: &binding.name, names: names.clone() };
            allowed.extend(binding.subjects.iter().map(of_subject));
        }
        allowed
    }

    /// The names that a binding lets this be done to, none for all; nothing where it does not.
    fn reach<'a>(&'a self, binding: &'a Binding, request: &Request<'_>) -> Option<BTreeSet<&'a str>> {
        let mut named = BTreeSet::new();
        for rule in self.rules(binding) {
            match rule.reach(request) {
                Some([]) => return Some(BTreeSet::new()),
                Some(names) => named.extend(names.iter().map(String::as_str)),
                None => {}
            }
        }
        (!named.is_empty()).then_some(named)
    }

    fn rules<'a>(&'a self, binding: &'a Binding) -> Vec<&'a Rule> {
        match (binding.role.kind.as_str(), &binding.namespace) {
            ("ClusterRole", _) => {
                let (mut rules, mut seen) = (Vec::new(), BTreeSet::new());
                self.gathered(&binding.role.name, &mut seen, &mut rules);
                rules
            }
            ("Role", Some(namespace)) => {
                let role = self.roles.get(&(namespace.clone(), binding.role.name.clone()));
                role.and_then(|role| role.rules.as_ref()).into_iter().flatten().collect()
            }
            _ => Vec::new(),
        }
    }

    /// The rules of a cluster role, and of those that it gathers: as they are written, or will be once the controller has seen them.
    fn gathered<'a>(&'a self, name: &'a str, seen: &mut BTreeSet<&'a str>, rules: &mut Vec<&'a Rule>) {
        let mut open = vec![name];
        while let Some(name) = open.pop() {
            let Some(role) = self.cluster_roles.get(name).filter(|_| seen.insert(name)) else { continue };
            rules.extend(role.rules.iter().flatten());
            let selectors = role.aggregation_rule.iter().flat_map(|rule| rule.cluster_role_selectors.iter().flatten());
            for selector in selectors {
                let chosen = self.cluster_roles.iter().filter(|(_, other)| selector.chooses(other.metadata.labels.as_ref()));
                open.extend(chosen.map(|(name, _)| name.as_str()));
            }
        }
    }
}

impl Binding {
    fn holds_in(&self, place: Place<'_>) -> bool {
        match (&self.namespace, place) {
            (None, _) | (Some(_), Place::Anywhere) => true,
            (Some(_), Place::Cluster) => false,
            (Some(own), Place::Namespace(asked)) => own == asked,
        }
    }
}

impl Rule {
    /// The names that it is for, none for all; nothing where it does not let this be done.
    fn reach(&self, request: &Request<'_>) -> Option<&[String]> {
        let has = |list: &Option<Vec<String>>, what: &str| list.iter().flatten().any(|word| word == "*" || word == what);
        let part = request.resource.split_once('/').map(|(_, part)| part);
        let is_part = |word: &String| part.is_some() && word.strip_prefix("*/") == part;
        let is_resource = has(&self.resources, request.resource) || self.resources.iter().flatten().any(is_part);
        if !(has(&self.verbs, request.verb) && has(&self.api_groups, request.group) && is_resource) {
            return None;
        }
        let names = self.resource_names.as_deref().unwrap_or_default();
        match request.name {
            _ if names.is_empty() => Some(&[]),
            Some(name) => names.iter().any(|own| own == name).then_some(&[]),
            // What is made has no name yet that could be compared; a part of something is made of what has one.
            None if request.verb == "create" && part.is_none() => None,
            None => Some(names),
        }
    }
}

impl Selector {
    fn chooses(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        let value = |key: &str| labels.and_then(|labels| labels.get(key));
        let has = |(key, wanted): (&String, &String)| value(key) == Some(wanted);
        let holds = |expression: &Expression| {
            let is_in = value(&expression.key).is_some_and(|value| expression.values.iter().flatten().any(|one| one == value));
            match expression.operator.as_str() {
                "In" => is_in,
                "NotIn" => !is_in,
                "Exists" => value(&expression.key).is_some(),
                "DoesNotExist" => value(&expression.key).is_none(),
                _ => false,
            }
        };
        self.match_labels.iter().flatten().all(has) && self.match_expressions.iter().flatten().all(holds)
    }
}

impl SubjectObject {
    fn read(self) -> Option<Subject> {
        match (self.kind.as_str(), self.namespace) {
            ("User", _) => Some(Subject::User(self.name)),
            ("Group", _) => Some(Subject::Group(self.name)),
            ("ServiceAccount", Some(namespace)) => Some(Subject::ServiceAccount(namespace, self.name)),
            _ => None,
        }
    }
}
