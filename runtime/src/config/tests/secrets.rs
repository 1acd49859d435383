//! Secrets in every position, right or wrong, never come out again.

use super::*;

/// Everything that a configuration can print, with all four clients.
fn everything_printed(config: &Config) -> String {
    let identity = WorkerIdentity::new("p", 1);
    let mut text = format!("{config:?}\n{config:#?}\n{:?}\n", config.client_options);
    text += &format!("{:?}\n", config.consumer_properties(&identity));
    text += &format!("{:?}\n", config.producer_properties(&identity));
    text += &format!("{:?}\n", config.restore_properties("p"));
    text += &format!("{:?}\n", config.admin_properties("p"));
    text += &config.warnings().join("\n");
    if let Err(error) = config.validate() {
        text += &format!("{error}\n{error:?}\n{:#?}\n", error.violations());
    }
    text
}

/// Secrets where they belong: the option names.
const PLACES: [&str; 12] = [
    "kafka.sasl.password",
    "kafka.sasl.username",
    "consumer.ssl.key.password",
    "main.consumer.ssl.key.pem",
    "restore.consumer.ssl.keystore.password",
    "producer.ssl.key.location",
    "admin.ssl.ca.pem",
    "kafka.ssl.certificate.pem",
    "kafka.sasl.oauthbearer.client.secret",
    "kafka.sasl.oauthbearer.client.credentials.client.secret",
    "kafka.sasl.oauthbearer.config",
    "kafka.sasl.oauthbearer.assertion.private.key.passphrase",
];

/// Secrets where they do not belong: misspelt names, wrong types, refused and owned options,
/// options of another kind.
const MISPLACED: [&str; 20] = [
    "kafka.sasl.pasword",
    "kafka.ssl.key.pasword",
    "sasl.password",
    "password",
    "producer.sasl.jaas.config",
    "consumer.nothing.like.it",
    "kafka.plugin.library.paths",
    "kafka.sasl.kerberos.kinit.cmd",
    "kafka.sasl.kerberos.principal",
    "kafka.group.id",
    "kafka.log_level",
    "kafka.security.protocol",
    "kafka.debug",
    "kafka.client.rack",
    "commit.interval.ms",
    "processing.guarantee",
    "static.membership",
    "num.stream.threads",
    "rocksdb.block.cache.bytes",
    "topic.nothing",
];

/// One canary for each place, in a form that no option accepts as a name.
fn canary(at: usize) -> String {
    format!("hunter{at} c4n4ry!")
}

#[test]
fn canaries_in_every_position_are_never_printed() {
    let places: Vec<&str> = PLACES.into_iter().chain(MISPLACED).collect();
    let more = [
        key::application_id,
        key::bootstrap_servers,
        key::client_id,
        key::group_instance_id,
        key::dead_letter_queue_topic,
    ];
    let places: Vec<&str> = places.into_iter().chain(more).collect();
    for (at, place) in places.iter().enumerate() {
        let secret = canary(at);
        let nul = format!("{secret}\0more");
        let quoted = format!("\"{place}\" = \"{secret}\"");
        let list = format!("\"{place}\" = [\"{secret}\", 1]");
        let table = format!("\"{place}\" = {{ inner = \"{secret}\" }}");
        let nul_toml = format!("\"{place}\" = \"{secret}\\u0000x\"");
        let variable = env_name(place);
        let base = || Config::new("a", "b:1");
        let configs = [
            base().apply_toml_str(&quoted),
            base().apply_toml_str(&list),
            base().apply_toml_str(&table),
            base().apply_toml_str(&nul_toml),
            base().apply_env([(variable.as_str(), secret.as_str())]),
            base().apply_env([(variable.as_str(), nul.as_str())]),
            base().with_client_option(place, secret.as_str()),
            base().with_client_option(place, nul.as_str()),
            base().with_topic_option(place, secret.as_str()),
        ];
        for (form, config) in configs.iter().enumerate() {
            let text = everything_printed(config);
            assert!(!text.contains("c4n4ry"), "{place}, form {form}: {text}");
        }
    }
}

#[test]
fn canaries_in_broken_files_and_in_the_place_of_names_are_never_printed() {
    let base = || Config::new("a", "b:1");
    let broken = [
        "kafka.sasl.password = hunter c4n4ry",
        "kafka.sasl.password = \"c4n4ry",
        "kafka.sasl.password = 'a'\nkafka.sasl.password = 'c4n4ry'",
        "c4n4ry",
        "c4n4ry! = 1",
        "[c4n4ry",
        "\"c4n4ry!\" = 1",
        "\"kafka.c4n4ry!\" = 1",
        "\"topic.c4n4ry!\" = 1",
        "kafka.sasl.password = 'x' c4n4ry",
        "kafka.sasl.password = \"\\c4n4ry\"",
        "kafka.sasl.password = 12c4n4ry",
        "bootstrap.servers = 'https://me:c4n4ry@host:9092'",
        "bootstrap.servers = 'host:c4n4ry'",
        "kafka.sasl.password.c4n4ry! = 1",
    ];
    for text in broken {
        let printed = everything_printed(&base().apply_toml_str(text));
        assert!(!printed.contains("c4n4ry"), "{text}: {printed}");
    }
    let variable = base().apply_env([("TIDEMILL_C4N4RY!", "c4n4ry"), ("TIDEMILL_\n", "c4n4ry")]);
    let printed = everything_printed(&variable).to_lowercase();
    assert!(!printed.contains("c4n4ry"), "{printed}");
    let url = base().with_bootstrap_servers("me:c4n4ry@host:9092");
    assert!(!everything_printed(&url).contains("c4n4ry"));
}

#[test]
fn a_secret_reaches_the_client_and_nothing_else() {
    let config = Config::new("a", "b:1")
        .with_client_option("kafka.security.protocol", "sasl_ssl")
        .with_client_option("kafka.sasl.mechanism", "SCRAM-SHA-512")
        .with_client_option("kafka.sasl.password", "c4n4ry");
    config.validate().unwrap();
    assert_eq!(config.admin_properties("p").get("sasl.password"), Some("c4n4ry"));
    let text = everything_printed(&config);
    assert!(
        !text.contains("c4n4ry") && text.contains("\"kafka.sasl.password\": \"***\""),
        "{text}"
    );
    let secret = Secret::new("c4n4ry");
    assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
}

#[test]
fn harmless_values_are_printed() {
    let config = Config::new("balances", "broker:9092")
        .with_client_option("consumer.fetch.min.bytes", "17")
        .with_topic_option("segment.bytes", "42");
    let text = format!("{config:?}");
    for part in ["\"balances\"", "\"broker:9092\"", "\"17\"", "\"42\"", "exactly_once_v2"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[cfg(unix)]
#[test]
fn a_file_with_secrets_that_others_can_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str, mode: u32| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let config = Config::new("a", "b:1").with_state_dir("/srv/x").apply_toml_file(path);
        config.warnings()
    };
    let secret = "kafka.sasl.password = 'c4n4ry'";
    assert_eq!(write("closed", secret, 0o600), Vec::<String>::new());
    assert_eq!(write("group", secret, 0o640), Vec::<String>::new());
    assert_eq!(write("harmless", "num.stream.threads = 2", 0o644), Vec::<String>::new());
    let warnings = write("open", secret, 0o644);
    assert!(warnings.len() == 1 && warnings[0].contains("chmod 600"), "{warnings:?}");
}
