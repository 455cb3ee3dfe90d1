//! `get`: objects of any kind that the cluster has, as a table that the daemon rendered; with `--watch` kept up to date,
//! in place on a terminal and line by line elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::args::GetFlags;
use crate::client::{Client, ClientError, Lines, TABLE, encode};
use crate::failure::Failure;
use crate::kinds::Resource;
use crate::screen::Screen;
use crate::table::{self, Table};

/// How often a table on a terminal is read again, so that ages do not stand still.
const REFRESH_EVERY: Duration = Duration::from_secs(10);
/// How long to wait before a watch that ended is begun again.
const PAUSE: Duration = Duration::from_millis(500);

/// Shows objects.
///
/// # Errors
/// When nobody answers, or there is no such kind.
pub(crate) async fn get(client: Client, flags: GetFlags) -> Result<(), Failure> {
    let namespace = (!flags.all_namespaces).then_some(flags.namespace.as_str());
    let path = Resource::find(&client, &flags.kind).await?.path(namespace);
    let mut screen = Screen::stdout();
    if flags.watch {
        return watch(&client, &path, flags.all_namespaces, &mut screen).await;
    }
    let objects = Objects::read(&client, &path, flags.all_namespaces).await?;
    if objects.rows.is_empty() {
        let place = if flags.all_namespaces { String::new() } else { format!(" in namespace {}", flags.namespace) };
        return screen.say([format!("there are no {}{place}", flags.kind)]);
    }
    screen.say(objects.table().lines())
}

async fn watch(client: &Client, path: &str, all: bool, screen: &mut Screen) -> Result<(), Failure> {
    let mut shown: Option<Objects> = None;
    loop {
        let objects = Objects::read(client, path, all).await?;
        if screen.is_terminal() {
            screen.draw(&objects.table().lines())?;
        } else {
            say_new(screen, shown.as_ref(), &objects)?;
        }
        let watched = format!("{path}?watch=1&resourceVersion={}", encode(&objects.version));
        let lines = client.lines(&watched, TABLE).await?;
        shown = Some(follow(lines, objects, screen).await?);
        if !screen.is_terminal() {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Shows changes until the stream ends, or on a terminal until it is time to read all again.
async fn follow(mut lines: Lines, mut objects: Objects, screen: &mut Screen) -> Result<Objects, Failure> {
    let again = tokio::time::Instant::now() + REFRESH_EVERY;
    let mut widths = objects.table().widths();
    loop {
        let event = tokio::select! {
            event = lines.next() => event,
            () = tokio::time::sleep_until(again), if screen.is_terminal() => return Ok(objects),
        };
        // A daemon that is restarted ends its streams; the next list says whether it is there again.
        let Ok(Some(event)) = event else { return Ok(objects) };
        if event["type"] == "ERROR" {
            return Ok(objects);
        }
        let changed = objects.change(&event);
        if screen.is_terminal() {
            screen.draw(&objects.table().lines())?;
        } else if !changed.is_empty() {
            // Columns only ever get wider, so that lines stay below each other.
            for (width, now) in widths.iter_mut().zip(objects.table().widths()) {
                *width = now.max(*width);
            }
            screen.say(changed.iter().map(|cells| table::line(cells, &widths)))?;
        }
    }
}

/// Says the rows that are not as they were said before; the headings the first time.
fn say_new(screen: &mut Screen, before: Option<&Objects>, now: &Objects) -> Result<(), Failure> {
    let Some(before) = before else { return screen.say(now.table().lines()) };
    let widths = now.table().widths();
    let is_new = |(name, row): &(&Name, &Row)| before.rows.get(*name).is_none_or(|known| known.version != row.version);
    screen.say(now.rows.iter().filter(is_new).map(|(_, row)| table::line(&row.cells, &widths)))
}

/// Namespace and name.
type Name = (String, String);

/// The objects of one kind, as they are shown.
#[derive(Debug, Clone, Default)]
struct Objects {
    columns: Vec<String>,
    /// Which of the daemon's columns are shown.
    shown: Vec<usize>,
    with_namespace: bool,
    rows: BTreeMap<Name, Row>,
    /// The list's resourceVersion.
    version: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    cells: Vec<String>,
    version: String,
}

impl Objects {
    async fn read(client: &Client, path: &str, with_namespace: bool) -> Result<Self, ClientError> {
        Ok(Objects::of(&client.get_as(path, TABLE).await?, with_namespace))
    }

    fn of(list: &Value, with_namespace: bool) -> Self {
        let mut objects = Objects {
            with_namespace,
            version: list["metadata"]["resourceVersion"].as_str().unwrap_or("0").to_owned(),
            ..Objects::default()
        };
        for (at, column) in list["columnDefinitions"].as_array().into_iter().flatten().enumerate() {
            // Columns of a lower priority are for those who ask for more.
            if column["priority"].as_i64().unwrap_or(0) == 0 {
                objects.columns.push(column["name"].as_str().unwrap_or_default().to_uppercase());
                objects.shown.push(at);
            }
        }
        for row in list["rows"].as_array().into_iter().flatten() {
            let (name, row) = objects.row(row);
            objects.rows.insert(name, row);
        }
        objects
    }

    fn row(&self, row: &Value) -> (Name, Row) {
        let metadata = &row["object"]["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let namespace = text(&metadata["namespace"]);
        let mut cells: Vec<String> = if self.with_namespace { vec![namespace.clone()] } else { Vec::new() };
        cells.extend(self.shown.iter().map(|&at| match &row["cells"][at] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        }));
        ((namespace, text(&metadata["name"])), Row { cells, version: text(&metadata["resourceVersion"]) })
    }

    /// Takes a watch's event; the result are the rows that are worth a line.
    fn change(&mut self, event: &Value) -> Vec<Vec<String>> {
        let gone = event["type"] == "DELETED";
        let mut changed = Vec::new();
        for row in event["object"]["rows"].as_array().into_iter().flatten() {
            let (name, row) = self.row(row);
            let before = if gone { self.rows.remove(&name) } else { self.rows.insert(name, row.clone()) };
            let mut cells = row.cells;
            if gone {
                cells.push("(deleted)".to_owned());
                changed.push(cells);
            } else if before.is_none_or(|before| before.cells != cells) {
                changed.push(cells);
            }
        }
        changed
    }

    fn table(&self) -> Table {
        let namespace = self.with_namespace.then(|| "NAMESPACE".to_owned());
        let columns = namespace.into_iter().chain(self.columns.iter().cloned()).collect();
        Table { columns, rows: self.rows.values().map(|row| row.cells.clone()).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(name: &str, ready: &str, version: &str) -> Value {
        let metadata = json!({"name": name, "namespace": "shop", "resourceVersion": version});
        json!({"cells": [name, ready, 3, "hidden"], "object": {"metadata": metadata}})
    }

    fn list() -> Value {
        let column = |name: &str, priority: i64| json!({"name": name, "priority": priority});
        json!({
            "metadata": {"resourceVersion": "7"},
            "columnDefinitions": [column("Name", 0), column("Ready", 0), column("Restarts", 0), column("IP", 1)],
            "rows": [row("b", "0/1", "5"), row("a", "1/1", "6")],
        })
    }

    #[test]
    fn a_list_is_shown_by_name_without_the_columns_for_those_who_want_more() {
        let objects = Objects::of(&list(), true);
        assert_eq!(objects.version, "7");
        let lines = objects.table().lines();
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&lines[0]), ["NAMESPACE", "NAME", "READY", "RESTARTS"]);
        assert_eq!(words(&lines[1]), ["shop", "a", "1/1", "3"]);
    }

    #[test]
    fn changes_are_taken_and_only_those_that_show_are_worth_a_line() {
        let mut objects = Objects::of(&list(), false);
        let event = |kind: &str, row: Value| json!({"type": kind, "object": {"rows": [row]}});
        assert!(objects.change(&event("MODIFIED", row("a", "1/1", "8"))).is_empty());
        assert_eq!(objects.change(&event("MODIFIED", row("b", "1/1", "9"))), [["b", "1/1", "3"]]);
        assert_eq!(objects.change(&event("DELETED", row("a", "1/1", "9"))), [["a", "1/1", "3", "(deleted)"]]);
        assert_eq!(objects.rows.len(), 1);
        assert!(objects.change(&json!({"type": "BOOKMARK", "object": {}})).is_empty());
    }
}
