//! Values that look like placeholders or patterns where neither has a meaning: they would be sent
//! or compared as they are, which nobody means.

use crate::finding::Finding;
use crate::matching;
use crate::schema::Config;
use crate::schema::auth_ref::AuthRef;
use crate::schema::forms::{PolicyUse, Switch};
use crate::schema::process::AccessLogConfig;
use crate::schema::route::{ActionConfig, ConditionConfig, HeaderRules, RouteConfig};
use crate::source::{Place, Spanned};
use crate::suggest::did_you_mean;
use route::template::FieldPlace;
use route::template::{self, TemplatePiece};

use super::route::REDIRECT_NAMES;

pub(super) fn check(config: &Config, findings: &mut Vec<Finding>) {
    for route in &config.route {
        check_route(route, config, findings);
    }
    config.headers.values().for_each(|rules| check_names(rules, findings));
    for upstream in config.upstream.values() {
        let Some(health) = &upstream.health else { continue };
        refuse("health.path", &health.path.value, health.path.place, findings);
        for (name, value) in &health.headers {
            refuse("a header", &value.to_string(), name.place, findings);
        }
        if let Switch::On(tls) = &upstream.tls
            && let Some(name) = &tls.server_name
        {
            refuse("server_name", &name.value, name.place, findings);
        }
    }
    for auth in config.auth.values() {
        if let Some(forward) = &auth.forward {
            refuse("url", &forward.url.value, forward.url.place, findings);
        }
        if let Some(jwt) = &auth.jwt {
            refuse("jwks", &jwt.jwks.value, jwt.jwks.place, findings);
        }
    }
    if let Some(trace) = &config.log.trace {
        refuse("otlp", &trace.otlp.value, trace.otlp.place, findings);
    }
    if let AccessLogConfig::Otlp(access) = &config.log.access {
        refuse("otlp", &access.otlp.value, access.otlp.place, findings);
    }
    if let AccessLogConfig::File(file) = &config.log.access {
        refuse("path", &file.path.value.to_string_lossy(), file.path.place, findings);
    }
}

fn check_route(route: &RouteConfig, config: &Config, findings: &mut Vec<Finding>) {
    let captures = matching::captures(route);
    for rules in [&route.request_headers, &route.response_headers] {
        for rules in matching::header_rules(rules, config) {
            check_values(rules, (route, &captures), config, findings);
        }
        for rules in rules.iter() {
            if let PolicyUse::Inline(rules) = rules {
                check_names(rules, findings);
            }
        }
    }
    for method in route.method.iter().filter(|method| method.value.get().as_str().contains('*')) {
        star("method", method.place, "leave `method` out to match all", findings);
    }
    let conditions = route.headers.iter().map(|(name, c)| (name.place, c));
    let conditions = conditions.chain(route.query.iter().map(|(name, c)| (name.place, c)));
    let conditions = conditions.chain(route.cookies.iter().map(|(name, c)| (name.place, c)));
    for (place, condition) in conditions {
        if let ConditionConfig::Equals(text) = condition
            && text.contains('*')
            && !text.contains("*/*")
        {
            let message = format!("\"{text}\" is compared as it is: `*` stands for itself");
            let finding = Finding::warning("literal_pattern", place, message);
            findings.push(finding.help("a pattern is written { regex = \"…\" }"));
        }
    }
    if let Some(rewrite) = &route.rewrite {
        let parts = [("strip_prefix", &rewrite.strip_prefix), ("prefix", &rewrite.prefix)];
        for (key, part) in parts {
            let Some(part) = part else { continue };
            if part.value.contains('*') {
                star(key, part.place, "a prefix is written without it", findings);
            }
        }
        let amiss = |path: &str| path.strip_suffix("/*").unwrap_or(path).contains('*');
        if let Some(path) = rewrite.path.as_ref().filter(|path| amiss(&path.value)) {
            let help = "the rest of the path goes to its end: \"/new/*\"";
            star("rewrite.path", path.place, help, findings);
        }
        if let Some(host) = &rewrite.host {
            let text = host.value.to_string();
            refuse("rewrite.host", &text, host.place, findings);
            if text.contains('*') {
                star("rewrite.host", host.place, "write one host", findings);
            }
        }
    }
    for origin in route.policies.cors.iter().flat_map(|cors| &cors.origins) {
        check_origin(origin, findings);
    }
    match &route.action {
        ActionConfig::Respond(respond) => {
            for (name, value) in &respond.headers {
                refuse("a header", &value.to_string(), name.place, findings);
            }
            let known: Vec<&str> = captures.into_iter().chain(REDIRECT_NAMES).collect();
            let named = placeholders(&respond.body.value).find(|name| known.contains(name));
            if let Some(name) = named {
                let message = format!("`{{{name}}}` is sent as it is: a body has no placeholders");
                findings.push(Finding::warning("literal_template", respond.body.place, message));
            }
        }
        ActionConfig::Redirect(_) | ActionConfig::Upstream(_) | ActionConfig::Files(_) => {}
    }
}

/// Checks that what stands in braces in header values is known where they are used. A shared set is
/// looked at for each route that uses it, and what is wrong with it for several of them is said
/// once.
fn check_values(
    rules: &HeaderRules,
    (route, captures): (&RouteConfig, &[&str]),
    config: &Config,
    findings: &mut Vec<Finding>,
) {
    for (name, value) in rules.set.iter().chain(&rules.add) {
        let text = value.to_string();
        for placeholder in placeholders(&text) {
            let wrong = match template::field_place(placeholder, captures) {
                None => unknown(placeholder, captures, name.place),
                Some(FieldPlace::Claim(_)) if !verifies_tokens(route, config) => {
                    let message =
                        format!("`{{{placeholder}}}` needs a route whose `auth` verifies tokens");
                    Finding::error("bad_template", name.place, message)
                }
                Some(_) => continue,
            };
            let said = |old: &Finding| old.message == wrong.message && old.place == wrong.place;
            if !findings.iter().any(said) {
                findings.push(wrong);
            }
        }
    }
}

fn unknown(placeholder: &str, captures: &[&str], place: Place) -> Finding {
    let named = template::PLACES.iter().map(|(name, _)| *name);
    let all: Vec<&str> = captures.iter().copied().chain(named).collect();
    let others = ["jwt.CLAIM", "client_cert.subject", "header.NAME"];
    let help = did_you_mean(placeholder, all.iter().copied().chain(["client_cert.subject"]));
    let help = help.unwrap_or_else(|| {
        let all: Vec<_> = all.iter().chain(&others).map(|name| format!("{{{name}}}")).collect();
        format!("it can be {}; for the text itself write \"{{{{{placeholder}}}\"", all.join(", "))
    });
    let message = format!("`{{{placeholder}}}` is not known here");
    Finding::error("bad_template", place, message).help(help)
}

pub(super) fn verifies_tokens(route: &RouteConfig, config: &Config) -> bool {
    let mut names = route.policies.auth.iter().flat_map(AuthRef::names);
    names.any(|name| config.auth.get(name.value.as_str()).is_some_and(|auth| auth.jwt.is_some()))
}

fn check_names(rules: &HeaderRules, findings: &mut Vec<Finding>) {
    let names = rules.set.keys().chain(rules.add.keys()).chain(&rules.remove);
    for name in names.filter(|name| name.value.get().as_str().contains('*')) {
        star("the name of a header", name.place, "name each header", findings);
    }
}

/// Origins are compared as browsers send them (RFC 6454 §6.2): scheme, host and port.
fn check_origin(origin: &Spanned<String>, findings: &mut Vec<Finding>) {
    let text = origin.value.as_str();
    if text == "*" || text == "null" {
        return;
    }
    if text.contains('*') {
        let help = "name each origin, or write \"*\" alone for all of them";
        return star("cors.origins", origin.place, help, findings);
    }
    let host = text.split_once("://").map_or("", |(_, host)| host);
    if host.is_empty() || host.contains(['/', '?', '#']) {
        let message = format!("\"{text}\" is no origin, so no browser would ever send it");
        let finding = Finding::error("bad_value", origin.place, message);
        findings.push(finding.help("write scheme and host, such as \"https://shop.example.com\""));
    }
}

fn star(what: &str, place: Place, help: &str, findings: &mut Vec<Finding>) {
    let message = format!("`*` has no meaning in {what}");
    findings.push(Finding::error("bad_value", place, message).help(help));
}

fn refuse(what: &str, text: &str, place: Place, findings: &mut Vec<Finding>) {
    if let Some(name) = placeholders(text).next() {
        let message =
            format!("`{{{name}}}` would be sent as it is: {what} has no placeholders here");
        let finding = Finding::error("bad_template", place, message);
        findings.push(finding.help(format!(
            "they can be used in request_headers, response_headers, rewrite.path and redirect.to; \
             for the text itself write \"{{{{{name}}}\""
        )));
    }
}

/// The names in single braces; `{{` is a brace.
fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    template::split_pieces(text).into_iter().filter_map(|piece| match piece {
        TemplatePiece::Name(name) => Some(name),
        TemplatePiece::Text(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_single_braces_are_placeholders() {
        let all = |text| placeholders(text).collect::<Vec<_>>();
        assert_eq!(all("a{id}b{jwt.sub}{header.x-y}"), ["id", "jwt.sub", "header.x-y"]);
        for text in ["{{id}", "{\"group\":{\"a\":1}}", "{", "{}", "{ id }", "{1}", "}{", "a{b"] {
            assert_eq!(all(text), Vec::<&str>::new(), "{text}");
        }
    }
}
