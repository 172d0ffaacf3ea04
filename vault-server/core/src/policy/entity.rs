//! Principals and resources as Cedar entities.
//!
//! An entity's id joins names with `/`, which no name can contain, so that two things never have one id.

use std::sync::LazyLock;

use cedar_policy::{Entity, EntityId, EntityTypeName, EntityUid};

use crate::{
    action::Action,
    path::{Path, PathPattern},
    principal::{Name, Principal, PrincipalPattern, Role},
};

use super::{Caller, Resource};

/// Types of entities, as the schema names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Workload,
    Namespace,
    Cluster,
    Operator,
    Role,
    Bootstrap,
    Path,
    Folder,
    System,
}

impl Kind {
    pub(crate) const ALL: [Self; 9] = [
        Self::Workload,
        Self::Namespace,
        Self::Cluster,
        Self::Operator,
        Self::Role,
        Self::Bootstrap,
        Self::Path,
        Self::Folder,
        Self::System,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Workload => "Workload",
            Self::Namespace => "Namespace",
            Self::Cluster => "Cluster",
            Self::Operator => "Operator",
            Self::Role => "Role",
            Self::Bootstrap => "Bootstrap",
            Self::Path => "Path",
            Self::Folder => "Folder",
            Self::System => "System",
        }
    }

    /// Whether an entity of this kind can have this id. A policy that names another would never apply: a typing error
    /// that would make a `forbid` useless.
    pub(crate) fn can_be_called(self, id: &str) -> bool {
        match self {
            Self::Workload => format!("k8s:{id}").parse::<Principal>().is_ok(),
            Self::Namespace => format!("k8s:{id}/any").parse::<Principal>().is_ok(),
            Self::Cluster | Self::Operator => id.parse::<Name>().is_ok(),
            Self::Role => id.parse::<Role>().is_ok(),
            Self::Path | Self::Folder => id.parse::<Path>().is_ok(),
            Self::Bootstrap => id == BOOTSTRAP_ID,
            Self::System => id == SYSTEM_ID,
        }
    }
}

const BOOTSTRAP_ID: &str = "bootstrap";
const SYSTEM_ID: &str = "system";

/// An entity's type and id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) id: String,
}

impl Node {
    pub(crate) fn new(kind: Kind, id: impl Into<String>) -> Self {
        Self { kind, id: id.into() }
    }

    pub(crate) fn uid(&self) -> EntityUid {
        EntityUid::from_type_name_and_id(type_name(self.kind), EntityId::new(&self.id))
    }

    /// The node that a policy's text names; none where the type is not one of ours.
    pub(crate) fn of(uid: &EntityUid) -> Option<Self> {
        let kind = Kind::ALL.into_iter().find(|kind| uid.type_name() == &type_name(*kind))?;
        Some(Self::new(kind, uid.id().unescaped()))
    }
}

fn type_name(kind: Kind) -> EntityTypeName {
    static NAMES: LazyLock<Vec<EntityTypeName>> = LazyLock::new(|| {
        let parse = |kind: Kind| kind.name().parse().expect("the names of entity types are identifiers");
        Kind::ALL.into_iter().map(parse).collect()
    });
    NAMES.get(kind as usize).cloned().expect("every kind is in Kind::ALL, in order")
}

/// The action as an entity.
pub(crate) fn action_uid(action: Action) -> EntityUid {
    static NAME: LazyLock<EntityTypeName> = LazyLock::new(|| "Action".parse().expect("it is an identifier"));
    EntityUid::from_type_name_and_id(NAME.clone(), EntityId::new(action.name()))
}

/// The caller, and everything it is in.
pub(crate) fn principal_nodes(caller: &Caller) -> Vec<Node> {
    match &caller.principal {
        Principal::Workload { cluster, namespace, service_account } => vec![
            Node::new(Kind::Workload, format!("{cluster}/{namespace}/{service_account}")),
            Node::new(Kind::Namespace, format!("{cluster}/{namespace}")),
            Node::new(Kind::Cluster, cluster.as_str()),
        ],
        Principal::Operator(name) => {
            let roles = Role::ALL.iter().filter(|role| caller.roles.contains(role));
            std::iter::once(Node::new(Kind::Operator, name.as_str()))
                .chain(roles.map(|role| Node::new(Kind::Role, role.name())))
                .collect()
        }
        Principal::Bootstrap => vec![Node::new(Kind::Bootstrap, BOOTSTRAP_ID)],
    }
}

/// The resource, and everything it is in.
pub(crate) fn resource_nodes(resource: &Resource) -> Vec<Node> {
    match resource {
        Resource::Path(path) => {
            let parents = || path.and_parents().skip(1);
            std::iter::once(Node::new(Kind::Path, path.as_str()))
                .chain(parents().map(|parent| Node::new(Kind::Folder, parent)))
                .chain(parents().map(|parent| Node::new(Kind::Path, parent)))
                .collect()
        }
        Resource::System => vec![Node::new(Kind::System, SYSTEM_ID)],
    }
}

/// The first node as an entity that is in all the others.
pub(crate) fn entity(nodes: &[Node]) -> Option<Entity> {
    let (itself, parents) = nodes.split_first()?;
    Some(Entity::new_no_attrs(itself.uid(), parents.iter().map(Node::uid).collect()))
}

/// What a grant's principal is in Cedar: it is for the node, and for all that is in it.
pub(crate) fn principal_pattern_node(pattern: &PrincipalPattern) -> Node {
    match pattern {
        PrincipalPattern::Workload { cluster, namespace: Some(namespace), service_account: Some(account) } => {
            Node::new(Kind::Workload, format!("{cluster}/{namespace}/{account}"))
        }
        PrincipalPattern::Workload { cluster, namespace: Some(namespace), service_account: None } => {
            Node::new(Kind::Namespace, format!("{cluster}/{namespace}"))
        }
        PrincipalPattern::Workload { cluster, namespace: None, .. } => Node::new(Kind::Cluster, cluster.as_str()),
        PrincipalPattern::Operator(name) => Node::new(Kind::Operator, name.as_str()),
        PrincipalPattern::Role(role) => Node::new(Kind::Role, role.name()),
    }
}

/// What a grant's path is in Cedar: the path itself, or what is in the folder.
pub(crate) fn path_pattern_node(pattern: &PathPattern) -> Node {
    match pattern {
        PathPattern::Exact(path) => Node::new(Kind::Path, path.as_str()),
        PathPattern::Below(path) => Node::new(Kind::Folder, path.as_str()),
    }
}
