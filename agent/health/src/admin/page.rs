//! The status page: one self-contained HTML document without scripts. Pure.

use std::fmt::Write;

use crate::status::Status;

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.3rem;margin:0}h2{font-size:1rem;margin:2rem 0 .5rem}\
p.build{opacity:.7;margin:.2rem 0 1.5rem}\
table{border-collapse:collapse;width:100%}\
th,td{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #8884}\
th{font-weight:600;white-space:nowrap}\
.good{color:#1a7f37}.fair{color:#9a6700}.bad{color:#cf222e}\
@media(prefers-color-scheme:dark){.good{color:#3fb950}.fair{color:#d29922}.bad{color:#f85149}}";

/// The page for `status`.
pub(super) fn render(status: &Status) -> String {
    let mut html = String::with_capacity(4096);
    // writing to a string cannot fail
    let _infallible = write(&mut html, status);
    html
}

fn write(html: &mut String, status: &Status) -> std::fmt::Result {
    let build = &status.build;
    write!(
        html,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Lamplighter: {}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><meta http-equiv=\"refresh\" content=\"5\">\
         <style>{STYLE}</style></head><body>\n<h1>Lamplighter</h1>\n<p class=\"build\">version {} ({}), pid {}, up {}</p>\n",
        escape(&status.phase),
        escape(&build.version),
        escape(&build.git),
        status.pid,
        span(status.uptime_seconds),
    )?;
    html.push_str("<table>\n");
    fact(html, "Phase", phase_class(&status.phase), &status.phase, "")?;
    if let Some(leaving) = &status.leaving {
        fact(html, "Leaving", "fair", &leaving.line(), "")?;
    }
    let (word, class) = if status.serving {
        ("serving (200)", "good")
    } else {
        ("not serving (503)", "bad")
    };
    fact(html, "Load balancer", class, word, &status.serving_reason)?;
    let class = match &*status.azure {
        "healthy" => "good",
        "none" => "fair",
        _ => "bad",
    };
    fact(
        html,
        "Application Health",
        class,
        &status.azure,
        &status.azure_reason,
    )?;
    let class = match &*status.web {
        "passing" => "good",
        "failing" => "bad",
        _ => "fair",
    };
    fact(html, "Web server check", class, &status.web, "")?;
    let asked =
        |age: Option<f64>| age.map_or_else(|| "never".to_owned(), |age| format!("{age:.1} s ago"));
    fact(
        html,
        "Last asked by a load balancer",
        "",
        &asked(status.balancer_asked_seconds_ago),
        "",
    )?;
    fact(
        html,
        "Last asked by Application Health",
        "",
        &asked(status.azure_asked_seconds_ago),
        "",
    )?;
    html.push_str("</table>\n");
    components(html, status)?;
    gates(html, status)?;
    html.push_str("</body></html>\n");
    Ok(())
}

fn fact(html: &mut String, name: &str, class: &str, value: &str, detail: &str) -> std::fmt::Result {
    writeln!(
        html,
        "<tr><th>{name}</th><td class=\"{class}\">{}</td><td>{}</td></tr>",
        escape(value),
        escape(detail)
    )
}

fn components(html: &mut String, status: &Status) -> std::fmt::Result {
    html.push_str("<h2>Components</h2>\n<table>\n");
    for component in &status.components {
        let class = match &*component.condition {
            "ok" => "good",
            "degraded" => "fair",
            _ => "bad",
        };
        let reach = if component.condition == "ok" {
            ""
        } else {
            &component.reach
        };
        writeln!(
            html,
            "<tr><th>{}</th><td class=\"{class}\">{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&component.name),
            escape(&component.condition),
            span(component.seconds),
            escape(reach),
            escape(&component.reason),
        )?;
    }
    html.push_str("</table>\n");
    Ok(())
}

fn gates(html: &mut String, status: &Status) -> std::fmt::Result {
    if status.gates.is_empty() {
        return Ok(());
    }
    html.push_str("<h2>Before the first traffic</h2>\n<table>\n");
    for gate in &status.gates {
        let (class, word) = if gate.open {
            ("good", "done")
        } else {
            ("fair", "not done yet")
        };
        fact(html, &escape(&gate.name), class, word, "")?;
    }
    html.push_str("</table>\n");
    Ok(())
}

fn phase_class(phase: &str) -> &'static str {
    match phase {
        "ready" => "good",
        "starting" | "shedding" => "fair",
        _ => "bad",
    }
}

fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
