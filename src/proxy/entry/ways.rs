//! What each kind of way in says of a client.

use std::future::poll_fn;
use std::rc::Rc;

use super::EntryVerdict;
use super::denial::{Denial, EntryAnswer, Why};
use crate::clock;
use crate::exchange::identity::client_network;
use crate::exchange::{Client, Refusal};
use crate::policy::api_key::ApiKeys;
use crate::policy::basic::{Basic, Busy, Credentials};
use crate::policy::effects::PolicyEffects;
use crate::policy::forward_auth::{ForwardAuth, JudgeAnswer, JudgeQuestion};
use crate::policy::jwt::{Jwt, TokenFault, Verified};
use crate::policy::way_in::Challenged;
use crate::proxy::MatchedRoute;
use crate::wire::Known;

pub(super) fn api_key(keys: &ApiKeys, matched: &MatchedRoute<'_, '_>) -> EntryVerdict {
    let mut given = matched.ex.head.fields.named(&keys.header);
    let (reason, why) = match (given.next(), given.next()) {
        (Some(key), None) if keys.owner_of(key).is_some() => return EntryVerdict::In,
        (Some(_), None) => ("unknown", "the key is not one of those known"),
        (None, _) => ("missing", "there is no key"),
        (Some(_), Some(_)) => ("several", "there is more than one key"),
    };
    let denial = Denial::new(reason, Why::Text(why), "auth.api_key", Refusal::Unauthenticated);
    EntryVerdict::Out(denial.with_challenge(Challenged::WithoutToken))
}

/// Verifies name and password, unless they were right lately.
pub(super) async fn verify_password(basic: &Basic, matched: &MatchedRoute<'_, '_>) -> EntryVerdict {
    const KEY: &str = "auth.basic";
    let mut given = matched.ex.head.fields.values(Known::Authorization);
    let credentials = match (given.next(), given.next()) {
        (Some(field), None) => Credentials::parse_field(field),
        _ => None,
    };
    let (reason, why) = if let Some(credentials) = credentials {
        let client = matched.identity.client.map(client_network).unwrap_or_default();
        match basic.verify_credentials(credentials, &client).await {
            Ok(true) => return EntryVerdict::In,
            Ok(false) => ("wrong", "name or password is wrong"),
            Err(Busy::Guessing) => {
                let why = Why::Text("too many guesses of one client or for one name");
                let denial = Denial::new("guessing", why, KEY, Refusal::RateLimited);
                let fields = vec![(&b"retry-after"[..], b"1".to_vec())];
                return EntryVerdict::Out(Denial { fields, ..denial });
            }
            Err(Busy::Full) => {
                let why = Why::Text("too many passwords are being verified");
                return EntryVerdict::Out(Denial::new("busy", why, KEY, Refusal::AuthUnavailable));
            }
        }
    } else {
        ("missing", "there is no name and password")
    };
    let denial = Denial::new(reason, Why::Text(why), KEY, Refusal::Unauthenticated);
    EntryVerdict::Out(denial.with_challenge(Challenged::WithoutToken))
}

/// Asks another server about the client.
pub(super) async fn ask_judge<'a, C: Client>(
    judge: &ForwardAuth,
    matched: &MatchedRoute<'a, '_>,
    effects: &mut PolicyEffects<'a>,
    client: &mut C,
) -> EntryVerdict {
    const KEY: &str = "auth.forward";
    let (head, target) = (matched.ex.head, matched.target);
    let question = JudgeQuestion {
        method: head.method(),
        path: target.path(),
        query: target.query(),
        host: target.sent_host(),
        identity: matched.identity,
        request_id: matched.id.as_str(),
        mark: matched.route.mark.as_deref(),
        fields: &head.fields,
    };
    let said = tokio::select! {
        biased;
        // Boxed, so that requests nobody is asked about do not hold the memory of those.
        said = Box::pin(judge.ask_judge(&matched.ex.worker.judges, question)) => said,
        () = poll_fn(|cx| client.poll_gone(cx)) => return EntryVerdict::Gone,
    };
    let answered = |status: u16| Why::Made(format!("{} answered {status}", judge.shown_place()));
    EntryVerdict::Out(match said {
        JudgeAnswer::Pass(fields, cookies) => {
            let cookies = cookies.into_iter();
            effects.made.extend(cookies.map(|c| (&b"set-cookie"[..], c.into())));
            effects.verified = Some(Rc::new(Verified { fields, ..Verified::default() }));
            return EntryVerdict::In;
        }
        JudgeAnswer::Deny(status, fields) => {
            let told = match status {
                401 => EntryAnswer::Refusal(Refusal::Unauthenticated),
                403 => EntryAnswer::Refusal(Refusal::NotAllowed),
                status => EntryAnswer::Status(status),
            };
            let denial = Denial::new("denied", answered(status), KEY, Refusal::Unauthenticated);
            Denial { told, fields, ..denial }
        }
        JudgeAnswer::Show(page) => {
            let why = answered(page.status);
            // A call is told in its own way.
            let told = match page.status {
                _ if !matched.admitted.grpc => EntryAnswer::Page(page),
                403 => EntryAnswer::Refusal(Refusal::NotAllowed),
                429 => EntryAnswer::Refusal(Refusal::RateLimited),
                _ => EntryAnswer::Refusal(Refusal::Unauthenticated),
            };
            Denial { told, ..Denial::new("denied", why, KEY, Refusal::Unauthenticated) }
        }
        JudgeAnswer::Nothing(reason, why) => {
            Denial::new(reason, Why::Made(why), KEY, Refusal::AuthUnavailable)
        }
    })
}

/// Verifies the client's token.
pub(super) fn verify_token(
    jwt: &Jwt,
    matched: &MatchedRoute<'_, '_>,
    effects: &mut PolicyEffects<'_>,
) -> EntryVerdict {
    match known_or_verified(jwt, matched) {
        Ok(verified) if !verified.allowed => {
            let why = Why::Text("the token lacks what `allow` asks for");
            EntryVerdict::Out(Denial::new(
                "not_allowed",
                why,
                "auth.jwt.allow",
                Refusal::NotAllowed,
            ))
        }
        Ok(verified) => {
            effects.verified = Some(verified);
            EntryVerdict::In
        }
        Err(denied) => {
            let (reason, key) = (denied.reason_word(), denied.config_key());
            let made = |refusal| Denial::new(reason, Why::Token(denied), key, refusal);
            if denied == TokenFault::NoKeys {
                return EntryVerdict::Out(made(Refusal::AuthUnavailable));
            }
            // RFC 6750 §3: the error only where there was a token.
            let challenged = if denied == TokenFault::Missing {
                Challenged::WithoutToken
            } else {
                Challenged::RefusedToken
            };
            let denial = made(Refusal::Unauthenticated).with_challenge(challenged);
            EntryVerdict::Out(Denial { may_be_new_key: denied.may_be_new_key(), ..denial })
        }
    }
}

/// Verifies the token of a request, unless this worker has done so lately.
fn known_or_verified(
    jwt: &Jwt,
    matched: &MatchedRoute<'_, '_>,
) -> Result<Rc<Verified>, TokenFault> {
    let worker = matched.ex.worker;
    let token = jwt.find_token(&matched.ex.head.fields, matched.target.query())?;
    let now = clock::unix_seconds();
    let fingerprint = jwt.fingerprint_of(&token);
    let known = worker.tokens.borrow().get(&fingerprint).cloned();
    if let Some(known) = known.filter(|known| jwt.still_counts(known, now)) {
        return Ok(known);
    }
    let verified = Rc::new(jwt.verify(&token, now)?);
    worker.remember_token(fingerprint, verified.clone());
    Ok(verified)
}
