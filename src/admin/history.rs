//! `GET /history`: the last six hours, for who has just come to look.

use http::StatusCode;

use super::calls::{AdminAnswer, found_answer, problem_with_detail};
use crate::route::condition::parameters;
use crate::server::status::Status;
use crate::snapshot::Snapshot;
use crate::telemetry::ledger::NO_ROUTE;
use crate::telemetry::timeline::{HistoryWish, STEPS};

/// Points of an answer that asks for no number of them: six minutes each of six hours.
const POINTS: usize = 360;
const HOURS: u64 = 6;

/// `minutes` (default 360), `points` at most (default 360), and `of=all` without routes and
/// servers.
pub(super) async fn show_history(status: &Status, query: Option<&str>) -> AdminAnswer {
    let wish = match parse_wish(query.unwrap_or_default()) {
        Ok(wish) => wish,
        Err(why) => {
            return problem_with_detail(StatusCode::UNPROCESSABLE_ENTITY, "bad_question", why);
        }
    };
    let (routes, servers) = series_names(&status.store.load());
    let read = status
        .desk
        .ask_history(move |history| history.timeline.read_report(&wish, &routes, &servers));
    found_answer(read.await.as_ref())
}

fn parse_wish(query: &str) -> Result<HistoryWish, &'static str> {
    let mut wish = HistoryWish { minutes: HOURS * 60, points: POINTS, places: true };
    for (name, value) in parameters(query.as_bytes()) {
        let number = std::str::from_utf8(value).ok().and_then(|value| value.parse::<u64>().ok());
        match (name, number, value) {
            (b"minutes", Some(minutes @ 1..), _) if minutes <= HOURS * 60 => wish.minutes = minutes,
            (b"minutes", ..) => return Err("`minutes` is a number from 1 to 360"),
            (b"points", Some(points @ 1..), _) if points <= STEPS as u64 => {
                wish.points = usize::try_from(points).unwrap_or(POINTS);
            }
            (b"points", ..) => return Err("`points` is a number from 1 to 2160"),
            (b"of", _, b"all") => wish.places = false,
            (b"of", ..) => return Err("`of` is \"all\", or left out"),
            _ => return Err("there are `minutes`, `points` and `of`"),
        }
    }
    Ok(wish)
}

/// The ids and names of one kind of place.
type NamedSeries = Vec<(u32, String)>;

fn series_names(snapshot: &Snapshot) -> (NamedSeries, NamedSeries) {
    let routes = snapshot.routes.iter().map(|route| (route.counts.id, route.name.to_string()));
    let none = std::iter::once((NO_ROUTE, "(no route)".to_owned()));
    let servers = snapshot.upstreams.iter().flat_map(|upstream| {
        let named = |endpoint: &crate::endpoint::Endpoint| {
            (endpoint.id, format!("{}/{}", upstream.name, endpoint.name))
        };
        let members = upstream.members();
        let names = members.members().iter().map(|member| named(&member.endpoint));
        names.collect::<Vec<_>>()
    });
    (routes.chain(none).collect(), servers.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_bounded() {
        let all = HistoryWish { minutes: 360, points: 360, places: true };
        assert_eq!(parse_wish(""), Ok(all));
        assert_eq!(
            parse_wish("minutes=15&of=all"),
            Ok(HistoryWish { minutes: 15, places: false, ..all })
        );
        assert_eq!(parse_wish("points=2160"), Ok(HistoryWish { points: 2160, ..all }));
        for bad in ["minutes=0", "minutes=361", "points=2161", "points=x", "of=routes", "x=1"] {
            assert!(parse_wish(bad).is_err(), "{bad}");
        }
    }
}
