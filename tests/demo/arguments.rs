//! No tuple hides arguments: what belongs together has a name.

use std::fs;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::architecture::collect;
use crate::documents::root;

fn is_punct(token: &TokenTree, mark: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == mark)
}

/// Splits at the commas that are in no angle brackets.
fn split_list(tokens: &[TokenTree]) -> Vec<&[TokenTree]> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0);
    for (at, token) in tokens.iter().enumerate() {
        let arrow = at > 0 && (is_punct(&tokens[at - 1], '-') || is_punct(&tokens[at - 1], '='));
        if is_punct(token, '<') {
            depth += 1;
        } else if is_punct(token, '>') && !arrow {
            depth -= 1;
        } else if is_punct(token, ',') && depth == 0 {
            parts.push(&tokens[start..at]);
            start = at + 1;
        }
    }
    parts.push(&tokens[start..]);
    parts.retain(|part| !part.is_empty());
    parts
}

/// The number of members of the tuple that a parameter is, or refers to; 0 for everything else.
fn tuple_members(parameter: &[TokenTree]) -> usize {
    let colon = |at: usize| parameter.get(at).is_some_and(|token| is_punct(token, ':'));
    let Some(at) =
        (0..parameter.len()).find(|at| colon(*at) && !colon(at + 1) && !(*at > 0 && colon(at - 1)))
    else {
        return 0;
    };
    let kind = parameter[at + 1..].iter().enumerate().find_map(|(n, token)| match token {
        TokenTree::Punct(_) => None,
        TokenTree::Ident(word) if word == "mut" => None,
        // A lifetime.
        TokenTree::Ident(_) if is_punct(&parameter[at + n], '\'') => None,
        other => Some(other),
    });
    match kind {
        Some(TokenTree::Group(tuple)) if tuple.delimiter() == Delimiter::Parenthesis => {
            let members: Vec<_> = tuple.stream().into_iter().collect();
            split_list(&members).len()
        }
        _ => 0,
    }
}

/// The functions in some code, with the longest tuple among the parameters of each.
fn longest_tuples(code: TokenStream, found: &mut Vec<(String, usize)>) {
    let tokens: Vec<_> = code.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        if let TokenTree::Group(group) = token {
            longest_tuples(group.stream(), found);
        }
        let is_fn = matches!(token, TokenTree::Ident(word) if word == "fn");
        if let (true, Some(TokenTree::Ident(name))) = (is_fn, tokens.get(at + 1)) {
            let (mut depth, mut before) = (0, '.');
            let list = tokens[at + 2..].iter().find_map(|token| {
                match token {
                    TokenTree::Group(list) if depth == 0 => return Some(list),
                    TokenTree::Punct(mark) => {
                        depth += i32::from(mark.as_char() == '<');
                        depth -= i32::from(mark.as_char() == '>' && before != '-');
                        before = mark.as_char();
                    }
                    _ => before = '.',
                }
                None
            });
            let Some(list) = list else { continue };
            let list: Vec<_> = list.stream().into_iter().collect();
            let longest = split_list(&list).into_iter().map(tuple_members).max();
            found.push((name.to_string(), longest.unwrap_or(0)));
        }
    }
}

fn tuples_of(code: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    longest_tuples(code.parse().unwrap(), &mut found);
    found
}

#[test]
fn tuples_are_found_however_they_are_written() {
    let code = "
        fn none(&self, a: std::ops::Range<u8>, b: &[(u8, u8, u8)], c: &dyn Fn(u8, u8, u8)) {}
        impl A { fn two<F: Fn((u8, u8, u8))>(self, (a, b): (Vec<(u8, u8)>, u8)) -> (u8, u8, u8) {} }
        mod inner { async fn three<'a>(&mut self, which: &'a mut (HashMap<u8, u8>, u8, u8,)) {} }
    ";
    let expected = [("none", 0), ("two", 2), ("three", 3)].map(|(name, n)| (name.to_owned(), n));
    assert_eq!(tuples_of(code), expected);
}

#[test]
fn no_parameter_is_a_tuple_of_more_than_two() {
    let mut files = Vec::new();
    collect(&root().join("src"), &mut files);
    collect(&root().join("crates"), &mut files);
    let (mut functions, mut wrong) = (0, Vec::new());
    for file in files {
        let path = file.strip_prefix(root()).unwrap();
        let is_test = |part: &std::ffi::OsStr| {
            ["tests.rs", "tests", "simulation"].iter().any(|name| part == *name)
        };
        if path.iter().any(is_test) {
            continue;
        }
        for (name, members) in tuples_of(&fs::read_to_string(&file).unwrap()) {
            functions += 1;
            if members > 2 {
                wrong.push(format!("{}: {name} takes {members} as one", path.display()));
            }
        }
    }
    assert!(functions > 3000, "{functions}");
    assert!(wrong.is_empty(), "give these a name:\n{}", wrong.join("\n"));
}
