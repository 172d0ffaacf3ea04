//! Grants, and the Cedar templates that they are links of.

use std::{
    collections::{BTreeSet, HashMap},
    sync::LazyLock,
};

use cedar_policy::{Policy, PolicySet, SlotId, Template};

use crate::{action::Action, id::GrantId, path::PathPattern, principal::PrincipalPattern};

use super::{
    Requirement, RuleId,
    entity::{self, Kind},
};

/// A permission: these actions, on these paths, to these principals.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Grant {
    /// The id.
    pub id: GrantId,
    /// The actions: at least one, and all of them on paths.
    pub actions: BTreeSet<Action>,
    /// The paths.
    pub path: PathPattern,
    /// To whom.
    pub principal: PrincipalPattern,
    /// What must hold beside that.
    pub require: Requirement,
}

impl Grant {
    /// The grant as a Cedar policy.
    #[must_use]
    pub fn to_cedar(&self) -> String {
        let principal = entity::principal_pattern_node(&self.principal).uid().to_string();
        let path = entity::path_pattern_node(&self.path);
        let scope = cedar(&self.actions, path.kind, &principal, &path.uid().to_string());
        match self.require.to_cedar() {
            Some(conditions) => format!("{scope}\nwhen {{ {conditions} }};"),
            None => format!("{scope};"),
        }
    }

    /// The grant in words: `read kv/prod/payments to k8s:prod/payments/api`.
    pub(super) fn words(&self) -> String {
        let actions: Vec<_> = self.actions.iter().map(|action| action.name()).collect();
        let asked = if self.require.is_empty() { String::new() } else { format!(" where {}", self.require) };
        format!("{} {} to {}{asked}", actions.join(", "), self.path, self.principal)
    }

    /// Adds the grant to a set of policies; none where that cannot be done.
    pub(super) fn link(&self, set: &mut PolicySet) -> Option<()> {
        if !self.require.is_empty() {
            return set.add(Policy::parse(Some(RuleId::Grant(self.id).cedar(0)), self.to_cedar()).ok()?).ok();
        }
        let path = entity::path_pattern_node(&self.path);
        let template = template(&self.actions, path.kind)?;
        if set.template(template.id()).is_none() {
            set.add_template(template.clone()).ok()?;
        }
        let principal = entity::principal_pattern_node(&self.principal).uid();
        let slots = HashMap::from([(SlotId::principal(), principal), (SlotId::resource(), path.uid())]);
        set.link(template.id().clone(), RuleId::Grant(self.id).cedar(0), slots).ok()
    }
}

fn cedar<'a>(actions: impl IntoIterator<Item = &'a Action>, path: Kind, principal: &str, resource: &str) -> String {
    let actions: Vec<_> = actions.into_iter().map(|action| entity::action_uid(*action).to_string()).collect();
    let relation = if path == Kind::Folder { "in" } else { "==" };
    format!("permit (principal in {principal}, action in [{}], resource {relation} {resource})", actions.join(", "))
}

fn path_actions() -> impl Iterator<Item = Action> {
    Action::ALL.iter().copied().filter(|action| action.on_path())
}

/// The template for these actions; none where there are none.
fn template(actions: &BTreeSet<Action>, path: Kind) -> Option<&'static Template> {
    let bits = path_actions().enumerate().filter(|(_, action)| actions.contains(action));
    TEMPLATES.get(&(bits.fold(0, |mask, (bit, _)| mask | 1 << bit), path))
}

/// One template for each set of actions, on one path and on a folder.
pub(super) static TEMPLATES: LazyLock<HashMap<(u32, Kind), Template>> = LazyLock::new(|| {
    let actions: Vec<_> = path_actions().collect();
    let mut templates = HashMap::new();
    for mask in 1_u32..1 << actions.len() {
        let chosen: Vec<_> = actions.iter().enumerate().filter(|(bit, _)| mask & 1 << bit != 0).map(|(_, a)| *a).collect();
        for kind in [Kind::Path, Kind::Folder] {
            let id = cedar_policy::PolicyId::new(format!("template:{mask}:{}", kind.name()));
            let text = cedar(&chosen, kind, "?principal", "?resource") + ";";
            let template = Template::parse(Some(id), text).expect("the text is put together from names of ours");
            templates.insert((mask, kind), template);
        }
    }
    templates
});
