//! Compiles routes: their action, and the changes of headers.

use std::collections::HashMap;
use std::sync::Arc;

use super::Purpose;
use crate::config::schema::route as schema;
use crate::config::schema::words::{HeaderName, HeaderText};
use crate::config::{Config, Finding, Spanned, matching};
use crate::exchange::edits::{FieldPart, FilledField};
use crate::exchange::{FieldPair, HeaderEdits, loops};
use crate::files::served;
use crate::policy::cors::FIELDS;
use crate::route::template::{TemplatePiece, field_place, split_pieces};
use crate::snapshot::policies::{self, SharedPolicies};
use crate::snapshot::route::{Action, Files, Redirect, Respond, Route};
use crate::snapshot::{cache, pages, rewrite, target};
use crate::upstream::Upstream;

pub(super) fn compile_route(
    (written, name): (&schema::RouteConfig, &str),
    config: &Config,
    upstreams: &[Arc<Upstream>],
    known: &HashMap<&str, &Route>,
    shared: &mut SharedPolicies<'_>,
) -> Result<Route, Box<Finding>> {
    let captures = matching::captures(written);
    let name: Arc<str> = name.into();
    let action = match &written.action {
        schema::ActionConfig::Upstream(split) => Action::Forward(target::compile_split(
            split,
            written,
            &target::TargetContext { config, upstreams, subset: true },
        )?),
        schema::ActionConfig::Respond(respond) => Action::Respond(self::compile_respond(respond)),
        schema::ActionConfig::Files(files) => {
            Action::Files(self::compile_files(files, written, shared.purpose)?)
        }
        schema::ActionConfig::Redirect(redirect) => Action::Redirect(Redirect {
            status: redirect.status.value,
            to: rewrite::compile_template(
                &redirect.to,
                &matching::location(written, redirect),
                &captures,
            )?,
            rests: rewrite::rests_of(&redirect.to.value, written),
        }),
    };
    let known = known.get(&*name).copied();
    let counts = known.map_or_else(Arc::default, |route| route.counts.clone());
    let policies = policies::compile_policies(written, &name, config, shared, known)?;
    let mirror = match &written.mirror {
        Some(mirror) => {
            target::compile_mirror(mirror, written, (config, upstreams), known)?.map(Arc::new)
        }
        None => None,
    };
    let cache = cache::compile_cache(written, &name, config, shared)?;
    let pages = pages::compile_pages(written, shared)?;
    let cors = written.policies.cors.is_some();
    let request_edits =
        compile_edits(matching::header_rules(&written.request_headers, config), &captures, &[]);
    // Whoever takes the field away, or writes another one, wants no loops to be found.
    let mark =
        (!request_edits.hides_field(loops::FIELD.as_bytes())).then(|| loops::route_mark(&name));
    Ok(Route {
        name,
        action,
        rewrite: rewrite::compile_rewrite(written, &captures, config)?,
        policies,
        cache,
        pages,
        mirror,
        request_edits: match &mark {
            Some(mark) => request_edits.with_added((loops::FIELD, mark)),
            None => request_edits,
        },
        mark,
        // What the proxy says about other origins must not be said twice.
        response_edits: compile_edits(
            matching::header_rules(&written.response_headers, config),
            &captures,
            if cors { &FIELDS } else { &[] },
        ),
        body_limit: written.body_limit.map(|b| b.get()),
        access_log: written.access_log,
        counts,
    })
}

fn compile_files(
    written: &schema::FilesConfig,
    route: &schema::RouteConfig,
    purpose: Purpose,
) -> Result<Files, Box<Finding>> {
    let schema::FilesTable { root, index, fallback, precompressed } = &**written;
    if matches!(purpose, Purpose::Run | Purpose::Check { files: true }) {
        served::check_root(&root.value).map_err(|why| {
            let message = format!("the folder {} cannot be served: {why}", root.value.display());
            Box::new(Finding::error("bad_file", root.place, message))
        })?;
    }
    let forms = precompressed.iter().map(|coding| match coding.value {
        schema::Precompressed::Br => ("br", ".br"),
        schema::Precompressed::Gzip => ("gzip", ".gz"),
        schema::Precompressed::Zstd => ("zstd", ".zst"),
    });
    Ok(Files {
        root: root.value.as_path().into(),
        index: index.iter().map(|name| name.value.as_str().into()).collect(),
        fallback: fallback.as_ref().map(|path| path.value.as_str().into()),
        starts: rewrite::rests_of("/*", route),
        precompressed: forms.collect(),
    })
}

fn compile_respond(written: &schema::RespondConfig) -> Respond {
    let schema::RespondConfig { status, body, headers } = written;
    let mut fields: Vec<FieldPair> = headers
        .iter()
        .map(|(name, value)| {
            (name.value.get().as_str().as_bytes().into(), literal_text(value).into_bytes().into())
        })
        .collect();
    let typed = headers.keys().any(|name| name.value.get() == http::header::CONTENT_TYPE);
    if !typed && !body.value.is_empty() {
        fields.push((b"content-type"[..].into(), b"text/plain; charset=utf-8"[..].into()));
    }
    Respond {
        status: status.value,
        fields: fields.into_boxed_slice(),
        body: body.value.as_bytes().into(),
    }
}

/// The text of a header without placeholders, in which `{{` is a brace.
fn literal_text(value: &HeaderText) -> String {
    String::from_utf8_lossy(value.get().as_bytes()).replace("{{", "{")
}

/// One set of changes after the other: what a later one sets, adds or removes stands.
fn compile_edits<'c>(
    all: impl Iterator<Item = &'c schema::HeaderRules>,
    captures: &[&str],
    hidden: &[&str],
) -> HeaderEdits {
    let mut set: Vec<(&str, &HeaderText)> = Vec::new();
    let mut add: Vec<(&str, &HeaderText)> = Vec::new();
    let mut removed: Vec<&str> = hidden.to_vec();
    for schema::HeaderRules { set: sets, add: adds, remove } in all {
        let name = |name: &'c Spanned<HeaderName>| name.value.get().as_str();
        let removes = remove.iter().map(name);
        for gone in removes.clone().chain(sets.keys().map(name)) {
            set.retain(|(name, _)| *name != gone);
            add.retain(|(name, _)| *name != gone);
        }
        removed.extend(removes);
        set.extend(sets.iter().map(|(of, value)| (name(of), value)));
        add.extend(adds.iter().map(|(of, value)| (name(of), value)));
    }
    removed.extend(set.iter().map(|(name, _)| *name));
    let written = set.into_iter().chain(add);
    let (filled, fixed): (Vec<_>, Vec<_>) =
        written.partition(|(_, value)| value.get().as_bytes().contains(&b'{'));
    let mut plain: Vec<(&str, String)> = Vec::new();
    let mut fields = Vec::new();
    for (name, value) in fixed {
        plain.push((name, String::from_utf8_lossy(value.get().as_bytes()).into_owned()));
    }
    for (name, value) in filled {
        let text = value.to_string();
        let parts = split_pieces(&text).into_iter().map(|piece| match piece {
            TemplatePiece::Text(text) => Some(FieldPart::Text(text.as_bytes().into())),
            TemplatePiece::Name(name) => field_place(name, captures).map(FieldPart::Place),
        });
        // What is unknown has been reported.
        let parts: Box<[FieldPart]> = parts.flatten().collect();
        if parts.iter().all(|part| matches!(part, FieldPart::Text(_))) {
            plain.push((name, literal_text(value)));
        } else {
            fields.push(FilledField { name: name.as_bytes().into(), parts });
        }
    }
    let none = std::iter::empty::<(&str, &str)>();
    let plain = plain.iter().map(|(name, value)| (*name, value.as_str()));
    HeaderEdits::new(none, plain, removed.into_iter()).with_filled(fields.into())
}
