//! The configuration as a user meets it: every option through every source, the documentation, the
//! names. The rules, the secrets and the clients have files of their own.

mod clients;
mod rules;
mod secrets;

use std::path::Path;

use super::kafka::Scope;
use super::*;

/// A value that differs from the default and is valid.
fn sample(option: &OptionSpec) -> String {
    let sample = match (option.name, option.kind) {
        (key::bootstrap_servers, _) => "broker-1:9092,[::1]:9093",
        (key::processing_guarantee, _) => "at_least_once",
        (key::auto_offset_reset, _) => "latest",
        (key::session_timeout, _) => "15000",
        (key::max_poll_interval, _) => "60000",
        (key::static_membership, _) => "true",
        (_, "text") => "sample-1",
        (_, "path") => "/srv/state",
        (_, "whole number") => "3",
        (_, "true, false") => "true",
        (_, "fail, continue, dead-letter-queue") => "continue",
        (_, kind) if kind.starts_with("bytes") => "83886080",
        _ => "5000",
    };
    sample.to_owned()
}

fn env_name(option: &str) -> String {
    format!("TIDEMILL_{}", option.replace('_', "__").replace('.', "_").to_uppercase())
}

#[test]
fn the_defaults_are_valid() {
    Config::new("balances", "localhost:9092").validate().unwrap();
}

#[test]
fn every_option_is_documented_in_the_reference() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/CONFIGURATION.md");
    let wanted = Config::reference();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "docs/CONFIGURATION.md is not current: run with UPDATE_GOLDEN=1");
    for option in OPTIONS {
        assert!(wanted.contains(&format!("### `{}`\n\n", option.name)), "{}", option.name);
    }
}

#[test]
fn the_documented_default_is_the_default() {
    let config = Config::unset();
    for option in OPTIONS {
        let shown = option.shown.strip_prefix('`').and_then(|s| s.split_once('`')).map(|s| s.0);
        match (option.read)(&config) {
            Some(_) if option.name == key::state_dir => {}
            Some(value) => assert_eq!(Some(value.as_str()), shown, "{}", option.name),
            // Not set: the text says what holds instead.
            None => assert!(!option.shown.is_empty(), "{}", option.name),
        }
    }
}

#[test]
fn every_option_round_trips_through_toml_in_each_form() {
    for option in OPTIONS {
        let value = sample(option);
        let forms = [
            format!("\"{}\" = \"{value}\"", option.name),
            format!("{} = \"{value}\"", option.name),
            format!("{} = \"{value}\"", option.name.replace('.', "_")),
        ];
        for form in forms {
            let config = Config::unset().apply_toml_str(&form);
            assert_eq!(config.problems, [], "{form}");
            assert_eq!((option.read)(&config), Some(value.clone()), "{form}");
        }
    }
}

#[test]
fn every_option_together_round_trips_through_one_file() {
    let file: String =
        OPTIONS.iter().map(|o| format!("{} = \"{}\"\n", o.name, sample(o))).collect();
    let config = Config::from_toml_str(&file).unwrap();
    for option in OPTIONS {
        assert_eq!((option.read)(&config), Some(sample(option)), "{}", option.name);
    }
    let environment = OPTIONS.iter().map(|o| (env_name(o.name), sample(o)));
    assert_eq!(Config::unset().apply_env(environment), config);
}

#[test]
fn numbers_and_switches_need_no_quotes_and_lists_may_be_lists() {
    let config = Config::from_toml_str(
        "application.id = 'a'\nbootstrap.servers = ['b:1', 'c:2']\nmax.task.idle.ms = -1\n\
         static.membership = false\ninput.buffer.max.bytes = '2 MiB'\n[commit]\ninterval.ms = 7\n\
         [kafka]\nlog_level = 3\nsocket.keepalive.enable = true\n",
    )
    .unwrap();
    assert_eq!(config.bootstrap_servers, "b:1,c:2");
    assert_eq!(config.max_task_idle, MaxTaskIdle::Never);
    assert!(!config.static_membership);
    assert_eq!(config.input_buffer_max, ByteSize::mib(2));
    assert_eq!(config.commit_interval, Some(Duration::from_millis(7)));
    let names: Vec<_> = config.client_options.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["kafka.log_level", "kafka.socket.keepalive.enable"]);
}

#[test]
fn every_option_round_trips_through_the_environment() {
    let mut names = std::collections::BTreeSet::new();
    for option in OPTIONS {
        let name = env_name(option.name);
        assert!(names.insert(name.clone()), "two options are called {name}");
        let config = Config::unset().apply_env([(name.as_str(), sample(option).as_str())]);
        assert_eq!(config.problems, [], "{name}");
        assert_eq!((option.read)(&config), Some(sample(option)), "{name}");
    }
}

#[test]
fn every_client_option_has_one_name_in_the_environment() {
    for known in librdkafka::KNOWN {
        for (prefix, _) in Scope::PREFIXES {
            let option = format!("{prefix}{}", known.name);
            let config = Config::unset().apply_env([(env_name(&option), "1")]);
            assert_eq!(config.problems, []);
            assert_eq!(config.client_options.iter().map(|o| o.0).collect::<Vec<_>>(), [option]);
        }
    }
}

#[test]
fn no_name_can_be_taken_for_another() {
    for option in OPTIONS {
        assert_eq!(Scope::split(option.name), None, "{}", option.name);
        assert!(!option.name.starts_with("topic.") && !option.name.contains('_'));
        // In TOML a key cannot be a value and a table.
        let table = format!("{}.", option.name);
        assert!(OPTIONS.iter().all(|other| !other.name.starts_with(&table)), "{table}");
    }
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_code() {
    let code = Config::new("code", "code:1").with_num_stream_threads(5).with_client_id("code");
    let both = code
        .apply_toml_str("application.id = 'file'\nclient.id = 'file'\nkafka.log_level = 1")
        .apply_env([("TIDEMILL_CLIENT_ID", "env"), ("TIDEMILL_KAFKA_LOG__LEVEL", "2")]);
    assert_eq!(both.application_id, "file");
    assert_eq!(both.client_id.as_deref(), Some("env"));
    assert_eq!(both.num_stream_threads, 5);
    assert_eq!(both.client_options.iter().next().map(|o| o.1.expose()), Some("2"));
    both.validate().unwrap();
}

#[test]
fn variables_of_others_and_of_tests_are_left_alone() {
    let vars = [
        ("PATH", "/bin"),
        ("TIDEMIL_CLIENT_ID", "x"),
        ("TIDEMILL_TEST_KAFKA", "x"),
        ("TIDEMILL_CACHE", "x"),
    ];
    assert_eq!(Config::unset().apply_env(vars), Config::unset());
}

#[test]
fn settings_of_internal_topics_are_kept_by_their_broker_name() {
    let config = Config::new("a", "b:1")
        .apply_toml_str("topic.segment.bytes = 1048576")
        .apply_env([("TIDEMILL_TOPIC_MIN_INSYNC_REPLICAS", "2")])
        .with_topic_option("retention.ms", "-1");
    config.validate().unwrap();
    let found: Vec<_> =
        config.topic_options.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let wanted =
        [("min.insync.replicas", "2"), ("retention.ms", "-1"), ("segment.bytes", "1048576")];
    assert!(wanted.iter().all(|option| found.contains(option)), "{found:?}");
}

#[test]
fn a_file_is_read_and_a_missing_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidemill.toml");
    std::fs::write(&path, "application.id = 'a'\nbootstrap.servers = 'b:1'\n").unwrap();
    assert_eq!(Config::from_toml_file(&path).unwrap(), Config::new("a", "b:1"));
    assert_eq!(Config::load(Some(&path)).unwrap().application_id, "a");
    let missing = Config::from_toml_file(folder.path().join("none.toml")).unwrap_err().to_string();
    assert!(missing.contains("none.toml: the file cannot be read: entity not found"), "{missing}");
    assert!(missing.contains("application.id: it is required"), "{missing}");
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_text_is_a_violation_and_others_do_not_matter() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    let broken = || OsString::from_vec(vec![b'c', 0xff]);
    let vars = [("TIDEMILL_CLIENT_ID".into(), broken()), ("HOME".into(), broken())];
    let error = Config::new("a", "b:1").apply_os_env(vars).validate().unwrap_err().to_string();
    assert!(
        error.contains("(1 violation)\n  TIDEMILL_CLIENT_ID: its value is not UTF-8"),
        "{error}"
    );
}

#[test]
fn reading_broken_text_never_panics() {
    let good =
        "application.id = 'a'\n[kafka]\nssl.ca.pem = \"\"\"x\"\"\"\n[[topic]]\na=[1,{b=2}]\n";
    let mut state = 0x9e37_79b9_u32;
    for _ in 0..5_000 {
        let mut bytes = good.as_bytes().to_vec();
        for _ in 0..3 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = (state >> 8) as usize % bytes.len();
            bytes[at] = b"=.[]{}'\"\n_\0a1-"[(state >> 3) as usize % 14];
        }
        let text = String::from_utf8(bytes).unwrap();
        let config = Config::unset().apply_toml_str(&text);
        assert!(config.validate().is_err(), "{text}");
        let _ = format!("{config:?}");
    }
}
