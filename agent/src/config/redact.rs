//! Takes what may be secret out of text that people will see: user names and passwords in addresses, signatures in shared
//! access URLs, and whatever stands behind a key whose name says that it is a secret. Pure.

/// Words in a key's name that mean its value is a secret; the files such keys may name (`password_file`) are not.
const SECRET_WORDS: [&str; 9] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "sas",
    "signature",
    "access_key",
    "connection_string",
];

/// Query parameters of a URL that carry a secret; `sig` is the one of a shared access signature.
const SECRET_PARAMETERS: [&str; 4] = ["sig", "password", "token", "code"];

/// What stands in the place of a secret.
pub(crate) const MARK: &str = "[redacted]";

/// Whether the value of the key `name` is a secret itself, and not the path of one.
pub(crate) fn is_secret_key(name: &str) -> bool {
    let name = name
        .rsplit('.')
        .next()
        .unwrap_or(name)
        .to_ascii_lowercase()
        .replace('-', "_");
    let names_a_file = ["_file", "_path", "_dir"]
        .iter()
        .any(|ending| name.ends_with(ending));
    let by_word = SECRET_WORDS.iter().any(|word| {
        name.split('_').any(|part| part == *word) || name.contains(word) && *word != "sas"
    });
    !names_a_file && by_word
}

/// `text` without the secrets that addresses in it carry.
pub(crate) fn text(text: &str) -> String {
    parameters(&user_info(text))
}

/// One line of a configuration file, fit to be shown.
pub(crate) fn line(line: &str) -> String {
    match line.split_once('=') {
        Some((key, _)) if is_secret_key(key.trim().trim_matches(['"', '\''])) => {
            format!("{}= {MARK}", key)
        }
        // an inline table may hide one: `account = { password = "x" }`
        Some((key, rest)) if inner_keys(rest).any(is_secret_key) => format!("{key}= {MARK}"),
        _ => text(line),
    }
}

/// The keys of inline tables in a value.
fn inner_keys(value: &str) -> impl Iterator<Item = &str> {
    let with_keys = value.rsplit_once('=').map_or("", |(before, _)| before);
    let before_equals = with_keys.split('=').map(|part| {
        let key = part.rsplit(['{', ',']).next().unwrap_or(part);
        key.trim().trim_matches(['"', '\''])
    });
    // what is more than a bare key (a URL with a query, say) is not one
    before_equals.filter(|key| {
        key.chars()
            .all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-'))
    })
}

/// `scheme://user:password@host` becomes `scheme://[redacted]@host`.
fn user_info(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        let authority = after.split(is_boundary).next().unwrap_or(after);
        rest = match authority.rsplit_once('@') {
            Some((user, _)) => {
                shown.push_str(MARK);
                after.strip_prefix(user).unwrap_or(after)
            }
            None => after,
        };
    }
    shown.push_str(rest);
    shown
}

/// Whether an authority (RFC 3986 section 3.2) ends here.
fn is_boundary(letter: char) -> bool {
    matches!(letter, '/' | '?' | '#' | '"' | '\'') || letter.is_whitespace()
}

/// `?sv=1&sig=abc` becomes `?sv=1&sig=[redacted]`.
fn parameters(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    loop {
        let next = SECRET_PARAMETERS
            .iter()
            .flat_map(|name| [format!("?{name}="), format!("&{name}=")])
            .filter_map(|start| rest.find(&start).map(|at| at + start.len()))
            .min();
        let Some((before, value)) = next.and_then(|at| rest.split_at_checked(at)) else {
            break;
        };
        shown.push_str(before);
        shown.push_str(MARK);
        let end = value
            .find(|letter: char| matches!(letter, '&' | '#' | '"' | '\'') || letter.is_whitespace())
            .unwrap_or(value.len());
        rest = value.split_at_checked(end).map_or("", |(_, after)| after);
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests;
