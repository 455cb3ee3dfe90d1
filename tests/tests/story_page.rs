//! The pages of `netsim story` in a browser: as many lanes as nodes, who led, what was cut, and for a run that failed
//! the check that found it. No script may complain.

use std::path::{Path, PathBuf};
use std::process::Command;

use skein_tests::browser::{self, Opened};
use skein_tests::built;
use skein_tests::failure::{Outcome, ensure};

#[test]
fn a_run_has_a_lane_for_each_node_and_its_leaders_and_partitions() -> Outcome<()> {
    for nodes in [3, 12] {
        let nodes_set = format!("nodes={nodes}");
        let sets = [nodes_set.as_str(), "busy_ms=15000", "partition_every_ms=3000", "settle_ms=180000"];
        let opened = story("9", &sets, 0)?;
        let picture = picture(&opened)?;
        ensure(picture.matches("<g class=\"lane\"").count() == nodes, || format!("no {nodes} lanes:\n{picture}"))?;
        ensure(opened.document.matches("<div class=\"name\"").count() == nodes, || "lanes without a name".to_owned())?;
        ensure(picture.contains("<rect class=\"lead quorate\""), || format!("nobody leads:\n{picture}"))?;
        ensure(picture.contains("data-term=\""), || format!("a leader without a term:\n{picture}"))?;
        let sides = |side: &str| picture.matches(&format!("data-side=\"{side}\"")).count();
        ensure(sides("0") > 0 && sides("1") > 0, || format!("no two sides of a partition:\n{picture}"))?;
        ensure((sides("0") + sides("1")) % nodes == 0 || picture.contains("data-side=\"2\""), || {
            format!("a lane that is on no side of a partition:\n{picture}")
        })?;
        ensure(!picture.contains("class=\"violation\""), || format!("a violation where there is none:\n{picture}"))?;
    }
    Ok(())
}

#[test]
fn a_run_without_partitions_shows_none() -> Outcome<()> {
    let sets = ["nodes=3", "busy_ms=3000", "partition_every_ms=0"];
    let opened = story("9", &sets, 0)?;
    ensure(!picture(&opened)?.contains("data-side="), || "a partition where there is none".to_owned())
}

#[test]
fn a_run_that_failed_shows_the_check_and_what_it_found() -> Outcome<()> {
    let opened = story("17", &["nodes=5", "queue_max=60"], 3)?;
    let picture = picture(&opened)?;
    ensure(picture.matches("<g class=\"violation\" data-check=\"bounds\">").count() == 1, || picture.to_owned())?;
    let callout = opened.document.split("id=\"failure\"").nth(1).and_then(|rest| rest.split("</section>").next());
    let callout = callout.unwrap_or_default();
    ensure(callout.contains("bounds") && callout.contains("more than 60 events wait"), || opened.document.clone())
}

/// Were errors of scripts not seen here, the tests above would hold for nothing.
#[test]
fn a_script_that_fails_is_noticed() -> Outcome<()> {
    let page = directory()?.join("broken.html");
    std::fs::write(&page, "<!doctype html><title>x</title><script>nonsense()</script>")?;
    let opened = browser::open(&page)?;
    ensure(opened.console.iter().any(|line| line.contains("nonsense is not defined")), || {
        format!("the console has {:?}", opened.console)
    })
}

/// Writes the story of a run that ends with an exit code, opens it, and checks that its scripts ran to their end.
fn story(seed: &str, sets: &[&str], code: i32) -> Outcome<Opened> {
    let netsim = built::program("NETSIM_BIN", "skein-netsim", "netsim")?;
    let page = directory()?.join(format!("seed-{seed}-{}.html", sets.join("-")));
    let sets = sets.iter().flat_map(|pair| ["--set", pair]);
    let output = Command::new(netsim).args(["story", "--seed", seed]).args(sets).arg("-o").arg(&page).output()?;
    ensure(output.status.code() == Some(code), || {
        let said = String::from_utf8_lossy(&output.stdout);
        format!("netsim ended with {} rather than {code}:\n{said}", output.status)
    })?;
    let opened = browser::open(&page)?;
    ensure(opened.console.is_empty(), || format!("the console has {}", opened.console.join("\n")))?;
    ensure(opened.document.contains("data-ready=\"yes\""), || "the page's script did not come to its end".to_owned())?;
    Ok(opened)
}

fn picture(opened: &Opened) -> Outcome<&str> {
    let picture = opened.document.split("id=\"plot\"").nth(1).and_then(|rest| rest.split("</svg>").next());
    ensure(picture.is_some(), || format!("the page has no picture:\n{}", opened.document))?;
    Ok(picture.unwrap_or_default())
}

fn directory() -> Outcome<PathBuf> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("story-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    Ok(directory)
}
