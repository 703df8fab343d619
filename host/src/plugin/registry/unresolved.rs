//! Why a name is not a handler: the text for the operator, and what the caller needs to choose a status.

use std::fmt;

use super::Registry;
use crate::config::nearest::nearest;
use crate::plugin::cpp::CppFunction;
use crate::plugin::generation::Generation;
use crate::plugin::handler::{Handler, HandlerRef, Kind};

/// A name that could not be resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// The name that was looked up, without the plugin's name.
    pub name: String,
    /// The kind of handler that was looked up.
    pub kind: Kind,
    /// False: a handler of that name exists, with another kind. True also for a name that several plugins have.
    pub missing: bool,
    /// What to do if the name is right, as the end of a sentence.
    pub remedy: &'static str,
    text: String,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Unresolved {}

impl Unresolved {
    /// `name` names a plugin that is not loaded.
    pub(super) fn no_plugin(registry: &Registry, plugin: &str, name: &str, kind: Kind) -> Self {
        let loaded: Vec<&str> = registry.plugins().map(|plugin| plugin.name.as_str()).collect();
        let hint = match nearest(plugin, loaded.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("loaded: {}", loaded.join(", ")),
        };
        let text = format!("no plugin `{plugin}` is loaded, as `{name}` asks for; {hint}");
        Self { name: name.to_owned(), kind, missing: true, remedy: "load that plugin", text }
    }

    /// Several plugins have a handler of that name and kind.
    pub(super) fn ambiguous(found: &[HandlerRef]) -> Self {
        let Handler { name, kind, .. } = found[0];
        let plugins: Vec<String> = found.iter().map(|it| format!("`{}`", it.plugin_name)).collect();
        let qualified: Vec<String> = found.iter().map(|it| format!("`{}:{name}`", it.plugin_name)).collect();
        let text = format!(
            "several plugins have an {kind} handler `{name}`: {}; write {}",
            plugins.join(", "),
            qualified.join(" or ")
        );
        Self { name: name.clone(), kind: *kind, missing: true, remedy: "load only one of the plugins", text }
    }

    /// Two names of one route are in different plugins, and none of them says so.
    pub(super) fn of_two_plugins(first: HandlerRef, other: HandlerRef) -> Self {
        let text = format!(
            "`{}` is in plugin `{}` and `{}` in plugin `{}`, and the names of one route must be of one plugin, \
             unless they say which: write `{}:{}` and `{}:{}`",
            first.name,
            first.plugin_name,
            other.name,
            other.plugin_name,
            first.plugin_name,
            first.name,
            other.plugin_name,
            other.name
        );
        let (name, kind) = (other.name.clone(), other.kind);
        Self { name, kind, missing: true, remedy: "name handlers of one plugin", text }
    }

    /// None of the searched plugins has a handler of that name and kind.
    pub(super) fn no_handler(searched: &[&Generation], symbol: &str, kind: Kind) -> Self {
        let other_kind = searched.iter().find_map(|plugin| {
            let (_, its_kind) = plugin.image.handlers.iter().find(|(name, _)| name == symbol)?;
            Some((plugin, *its_kind))
        });
        let text = if let Some((plugin, its_kind)) = other_kind {
            format!(
                "{}: `{symbol}` is an {}, and an {kind} handler is needed here",
                plugin.label(),
                its_kind.noun()
            )
        } else {
            let labels: Vec<String> = searched.iter().map(|plugin| plugin.label()).collect();
            let fitting = searched.iter().flat_map(|plugin| plugin.names(kind));
            let cpp = searched.iter().flat_map(|plugin| CppFunction::all(&plugin.image));
            let hint = if let Some(function) = CppFunction::find(cpp.clone(), symbol) {
                function.hint(kind)
            } else if let Some(near) = nearest(symbol, fitting.clone()) {
                format!("did you mean `{near}`?")
            } else if let Some(function) = CppFunction::nearest(cpp, symbol) {
                function.hint(kind)
            } else {
                match fitting.collect::<Vec<_>>() {
                    names if names.is_empty() => "none of that kind is exported".to_owned(),
                    names => format!("found: {}", names.join(", ")),
                }
            };
            format!("{}: no {kind} handler `{symbol}`; {hint}", labels.join(", "))
        };
        let missing = other_kind.is_none();
        let remedy = if missing { "export it" } else { "change the handler's kind" };
        Self { name: symbol.to_owned(), kind, missing, remedy, text }
    }
}
