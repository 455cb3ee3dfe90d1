//! The manifest that the demo applies: the one in `examples/`, built in. What becomes of it does not live here.

use serde::Deserialize as _;
use serde_json::Value;

use crate::client::Client;
use crate::failure::Failure;
use crate::kinds::Resource;

/// Where its objects go.
pub(crate) const NAMESPACE: &str = "default";
/// The file, as people find it.
pub(crate) const FILE: &str = "examples/web.yaml";
const TEXT: &str = include_str!("../../../examples/web.yaml");

/// The objects of the manifest.
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    objects: Vec<Value>,
}

impl Manifest {
    /// `examples/web.yaml`.
    ///
    /// # Errors
    /// When somebody broke it before this program was built.
    pub(crate) fn web() -> Result<Self, Failure> {
        let objects: Result<Vec<Value>, _> =
            serde_yaml_ng::Deserializer::from_str(TEXT).map(Value::deserialize).collect();
        let objects = objects.map_err(|error| Failure::new(format!("{FILE}: {error}")))?;
        Ok(Manifest { objects })
    }

    /// How many pods it asks for.
    pub(crate) fn replicas(&self) -> usize {
        let counts = self.objects.iter().filter_map(|object| object["spec"]["replicas"].as_u64());
        usize::try_from(counts.sum::<u64>()).unwrap_or(usize::MAX)
    }

    /// The image of its pods.
    pub(crate) fn image(&self) -> String {
        let image =
            |object: &Value| Some(object["spec"]["template"]["spec"]["containers"][0]["image"].as_str()?.to_owned());
        self.objects.iter().find_map(image).unwrap_or_default()
    }

    /// Creates its objects.
    ///
    /// # Errors
    /// When nobody answers, or one is refused; those before it are there.
    pub(crate) async fn apply(&self, client: &Client) -> Result<(), Failure> {
        for object in &self.objects {
            let kind = object["kind"].as_str().unwrap_or_default();
            let path = Resource::find(client, kind).await?.path(Some(NAMESPACE));
            client.post(&format!("{path}?fieldManager=skein-demo&fieldValidation=Strict"), object).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_example_is_a_deployment_of_six_that_runs_this_program() {
        let manifest = Manifest::web().unwrap();
        assert_eq!(manifest.replicas(), 6);
        assert!(!manifest.image().is_empty());
        let container = &manifest.objects[0]["spec"]["template"]["spec"]["containers"][0];
        let words = container["command"].as_array().unwrap().iter().filter_map(Value::as_str);
        use clap::Parser as _;
        assert!(crate::args::Args::try_parse_from(words).is_ok());
    }
}
