"""Where settings come from, and that keys stay secret."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest

from aiowandb import UsageError
from aiowandb.config.credentials import ApiKey, IdentityToken
from aiowandb.config.settings import Settings, app_url
from aiowandb.errors import ApiKeyError

KEY, OTHER_KEY = "k" * 40, "o" * 40


def netrc(home: Path, text: str) -> None:
    path = home / ".netrc"
    path.write_text(text)
    path.chmod(0o600)


def key_of(settings: Settings) -> tuple[str, str] | None:
    key = settings.credentials
    return (key.reveal(), key.source) if isinstance(key, ApiKey) else None


def test_without_anything_the_cloud_is_meant_and_there_is_no_key() -> None:
    settings = Settings.load(environ={})
    assert settings.base_url == "https://api.wandb.ai"
    assert settings.credentials is None


def test_an_argument_goes_before_the_environment() -> None:
    environ = {"WANDB_API_KEY": OTHER_KEY, "WANDB_BASE_URL": "http://env", "WANDB_ENTITY": "env"}
    settings = Settings.load(api_key=KEY, base_url="http://arg/", entity="arg", environ=environ)
    assert key_of(settings) == (KEY, "argument")
    assert (settings.base_url, settings.entity) == ("http://arg", "arg")


def test_the_environment_goes_before_netrc(home: Path) -> None:
    netrc(home, f"machine api.wandb.ai login user password {OTHER_KEY}\n")
    assert key_of(Settings.load(environ={"WANDB_API_KEY": KEY})) == (KEY, "WANDB_API_KEY")


def test_netrc_is_looked_up_by_host_and_port(home: Path) -> None:
    netrc(
        home,
        f"machine localhost:8080 login user password {KEY}\n"
        f"machine localhost login user password {OTHER_KEY}\n",
    )
    environ = {"WANDB_BASE_URL": "http://localhost:8080"}
    assert key_of(Settings.load(environ=environ)) == (KEY, str(home / ".netrc"))


CLOUD = ["api.wandb.ai", "api.forge.coreweave.com", "forge.coreweave.com"]
QA = ["api.qa.wandb.ai", "api.qa.forge.coreweave.com", "qa.forge.coreweave.com"]


@pytest.mark.parametrize("names", [CLOUD, QA])
def test_the_clouds_key_is_found_under_each_of_its_names(home: Path, names: list[str]) -> None:
    others = QA if names is CLOUD else CLOUD
    for written in names:
        netrc(home, f"machine {written} login user password {KEY}\n")
        for asked in names[:2]:
            settings = Settings.load(base_url=f"https://{asked}", environ={})
            assert key_of(settings) == (KEY, str(home / ".netrc"))
        for asked in (*others[:2], "elsewhere"):
            assert Settings.load(base_url=f"https://{asked}", environ={}).credentials is None


def test_the_settings_files_key_serves_all_names_of_its_cloud(home: Path) -> None:
    user = home / ".config" / "wandb" / "settings"
    user.parent.mkdir(parents=True)
    user.write_text(f"[default]\nbase_url = https://api.forge.coreweave.com\napi_key = {KEY}\n")
    for asked in CLOUD[:2]:
        settings = Settings.load(base_url=f"https://{asked}", environ={})
        assert key_of(settings) == (KEY, "the settings file")
    assert Settings.load(base_url=f"https://{QA[0]}", environ={}).credentials is None


@pytest.mark.parametrize("ending", ["", "/"])
@pytest.mark.parametrize("host", ["forge.coreweave.com", "qa.forge.coreweave.com"])
def test_the_url_of_the_api_proxy_is_replaced_by_that_of_the_api(host: str, ending: str) -> None:
    url = f"https://{host}/api/wandb{ending}"
    assert Settings.load(base_url=url, environ={}).base_url == f"https://api.{host}"
    assert Settings.load(environ={"WANDB_BASE_URL": url}).base_url == f"https://api.{host}"


@pytest.mark.parametrize(
    "url",
    [
        "https://forge.coreweave.com",
        "https://forge.coreweave.com/wandb",
        "https://forge.coreweave.com/api/wandb/graphql",
        "https://forge.coreweave.com:443/api/wandb",
        "http://forge.coreweave.com/api/wandb",
        "http://api.forge.coreweave.com",
    ],
)
def test_another_address_of_the_clouds_new_host_is_refused_with_the_right_one(url: str) -> None:
    with pytest.raises(UsageError, match=r"https://api\.forge\.coreweave\.com"):
        Settings.load(base_url=url, environ={})


@pytest.mark.parametrize(
    ("api", "pages"),
    [
        ("https://api.wandb.ai", "https://wandb.ai"),
        ("https://api.forge.coreweave.com", "https://forge.coreweave.com/wandb"),
        ("https://api.qa.forge.coreweave.com", "https://qa.forge.coreweave.com/wandb"),
        ("https://api.qa.wandb.ai", "https://qa.forge.coreweave.com/wandb"),
        ("https://api.acme.example", "https://app.acme.example"),
        ("http://localhost:8080", "http://localhost:8080"),
    ],
)
def test_the_pages_of_a_server_are_found_from_its_api(api: str, pages: str) -> None:
    assert app_url(api) == pages


@pytest.mark.skipif(os.name != "posix", reason="files have no such modes here")
def test_a_key_that_others_can_read_is_refused_with_the_command_to_fix_it(home: Path) -> None:
    netrc(home, f"machine api.wandb.ai login user password {KEY}\n")
    (home / ".netrc").chmod(0o640)
    with pytest.raises(UsageError, match=r"other users can read it.*chmod 600 .*\.netrc") as caught:
        Settings.load(environ={})
    assert KEY not in str(caught.value)
    assert Settings.load(base_url="http://elsewhere", environ={}).credentials is None


def test_an_identity_token_is_known_by_its_file(home: Path) -> None:
    settings = Settings.load(environ={"WANDB_IDENTITY_TOKEN_FILE": "/run/token"})
    cache = home / ".config" / "wandb" / "credentials.json"
    assert settings.credentials == IdentityToken(Path("/run/token"), cache)
    environ = {"WANDB_IDENTITY_TOKEN_FILE": "/run/token", "WANDB_CREDENTIALS_FILE": "/c.json"}
    assert Settings.load(environ=environ).credentials == IdentityToken(
        Path("/run/token"), Path("/c.json")
    )


def test_a_key_together_with_an_identity_token_is_an_error() -> None:
    environ = {"WANDB_IDENTITY_TOKEN_FILE": "/run/token", "WANDB_API_KEY": KEY}
    with pytest.raises(UsageError, match="both set"):
        Settings.load(environ=environ)
    assert key_of(Settings.load(api_key=OTHER_KEY, environ=environ)) == (OTHER_KEY, "argument")


def test_a_broken_netrc_is_reported_without_its_content(home: Path) -> None:
    netrc(home, f"machine x loggin {KEY}\n")
    with pytest.raises(UsageError, match=r"Cannot read .*\.netrc") as caught:
        Settings.load(environ={})
    assert KEY not in str(caught.value)


def test_settings_files_give_what_nothing_else_does(home: Path, tmp_path: Path) -> None:
    user = home / ".config" / "wandb" / "settings"
    user.parent.mkdir(parents=True)
    user.write_text("[default]\nentity = mine\nproject = global\n[other]\nentity = no\n")
    workspace = tmp_path / "wandb" / "settings"
    workspace.parent.mkdir()
    workspace.write_text("[default]\nproject = local\n")
    settings = Settings.load(environ={"WANDB_DIR": str(tmp_path)})
    assert (settings.entity, settings.project) == ("mine", "local")


def test_a_key_in_a_settings_file_is_for_the_host_of_that_file_only(home: Path) -> None:
    user = home / ".config" / "wandb" / "settings"
    user.parent.mkdir(parents=True)
    user.write_text(f"[default]\nbase_url = http://mine\napi_key = {KEY}\n")
    assert key_of(Settings.load(environ={})) == (KEY, "the settings file")
    assert Settings.load(base_url="http://theirs", environ={}).credentials is None


@pytest.mark.parametrize(
    ("key", "complaint"),
    [
        ("", "is empty"),
        ("short", "has 5 characters"),
        ("local-" + "x" * 39, "has 39 characters"),
        ("x" * 39 + " y", "other than letters"),
    ],
)
def test_a_malformed_key_is_refused_before_any_request(key: str, complaint: str) -> None:
    with pytest.raises(ApiKeyError, match=complaint) as caught:
        ApiKey(key)
    assert isinstance(caught.value, UsageError)


@pytest.mark.parametrize("key", [KEY, f"local-{KEY}", "abc.def-x.ghi_y", "a" * 86])
def test_every_kind_of_key_is_accepted(key: str) -> None:
    assert ApiKey(key).reveal() == key


def test_a_key_does_not_show_itself() -> None:
    settings = Settings.load(api_key=KEY, environ={})
    assert KEY not in f"{settings!r} {settings.credentials!s} {settings.credentials!r}"


@pytest.mark.parametrize("url", ["https://wandb.ai", "http://api.wandb.ai", "https://x.wandb.ai"])
def test_the_url_of_the_clouds_pages_is_not_used_as_its_api(url: str) -> None:
    with pytest.raises(UsageError, match=r"use https://api\.wandb\.ai"):
        Settings.load(base_url=url, environ={})


@pytest.mark.parametrize("url", ["wandb.ai", "http://a b/", "ftp://wandb.ai", "http://"])
def test_an_invalid_url_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="base URL"):
        Settings.load(base_url=url, environ={})


def test_limits_must_be_positive() -> None:
    with pytest.raises(UsageError, match="max_concurrency must be more than zero"):
        Settings.load(max_concurrency=0, environ={})


def test_the_silence_that_a_try_may_last_is_a_setting() -> None:
    assert Settings.load(environ={"WANDB_HTTP_TIMEOUT": "7"}).http_timeout == 7.0
    for wrong in ("soon", "0", "nan"):
        with pytest.raises(UsageError, match="WANDB_HTTP_TIMEOUT must be more than zero"):
            Settings.load(environ={"WANDB_HTTP_TIMEOUT": wrong})


def test_proxies_are_by_scheme_and_an_argument_is_for_both() -> None:
    environ = {"WANDB_HTTPS_PROXY": "http://user:s3cret@proxy:3128"}
    settings = Settings.load(environ=environ)
    assert settings.proxies == {"https://": "http://user:s3cret@proxy:3128"}
    assert "s3cret" not in repr(settings)
    both = Settings.load(proxy="http://other:1", environ=environ).proxies
    assert both == {"http://": "http://other:1", "https://": "http://other:1"}
    with pytest.raises(UsageError, match="proxy is not a URL") as caught:
        Settings.load(proxy="user:s3cret@proxy", environ={})
    assert "s3cret" not in str(caught.value)


def test_disabled_verification_is_a_warning() -> None:
    blind = ssl.create_default_context()
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
    for verify, environ in (
        (None, {"WANDB_INSECURE_DISABLE_SSL": "true"}),
        (False, {}),
        (blind, {}),
    ):
        with pytest.warns(UserWarning, match="pose as W&B"):
            found = Settings.load(verify=verify, environ=environ).verify
        assert found is (verify or False)


def test_certificates_are_verified_unless_the_user_disables_it() -> None:
    own = ssl.create_default_context()
    assert Settings.load(environ={}).verify is True
    assert Settings.load(environ={"WANDB_INSECURE_DISABLE_SSL": "false"}).verify is True
    assert Settings.load(verify=True, environ={"WANDB_INSECURE_DISABLE_SSL": "1"}).verify is True
    assert Settings.load(verify=own, environ={}).verify is own


def folder_says(folder: Path, text: str) -> None:
    (folder / "wandb").mkdir(exist_ok=True)
    (folder / "wandb" / "settings").write_text(f"[default]\n{text}\n")


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder whose file names another host, as somebody else's code may have."""
    (tmp_path / "code").mkdir()
    monkeypatch.chdir(tmp_path / "code")
    folder_says(tmp_path / "code", "base_url = https://evil.test")
    return tmp_path / "code"


@pytest.mark.parametrize("source", ["WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "argument"])
@pytest.mark.usefixtures("home", "elsewhere")
def test_it_is_said_when_a_key_goes_to_a_host_that_a_file_in_the_working_folder_names(
    source: str,
) -> None:
    environ = {} if source == "argument" else {source: KEY}
    api_key = KEY if source == "argument" else None
    with pytest.warns(UserWarning, match=r"is sent to https://evil.test, because wandb.settings"):
        settings = Settings.load(api_key=api_key, environ=environ)
    # As W&B's own client does.
    assert settings.base_url == "https://evil.test"
    assert settings.credentials is not None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("insecure_disable_ssl", "true"),
        ("https_proxy", "http://evil.test:1"),
        ("credentials_file", "/home/me/.bashrc"),
    ],
)
def test_a_file_in_the_working_folder_decides_neither_who_reads_a_key_nor_what_is_replaced(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    (tmp_path / "code").mkdir()
    monkeypatch.chdir(tmp_path / "code")
    folder_says(tmp_path / "code", f"{name} = {value}")
    environ = {"WANDB_IDENTITY_TOKEN_FILE": str(tmp_path / "token")}
    with pytest.warns(UserWarning, match=rf"wandb.settings sets {name}, and is not followed"):
        settings = Settings.load(environ=environ)
    assert settings.verify is True
    assert settings.proxies == {}
    assert isinstance(settings.credentials, IdentityToken)
    assert settings.credentials.cache.name == "credentials.json"


@pytest.mark.usefixtures("elsewhere")
def test_nothing_is_said_where_the_user_has_named_the_host(home: Path) -> None:
    Settings.load(environ={})  # there is no key
    Settings.load(api_key=KEY, base_url="https://mine.test", environ={})
    Settings.load(api_key=KEY, environ={"WANDB_BASE_URL": "https://evil.test"})
    netrc(home, f"machine evil.test login user password {KEY}\n")
    assert key_of(Settings.load(environ={})) == (KEY, str(home / ".netrc"))
    (home / ".config" / "wandb").mkdir(parents=True)
    (home / ".config" / "wandb" / "settings").write_text("[default]\nbase_url=https://evil.test/\n")
    Settings.load(environ={"WANDB_API_KEY": OTHER_KEY})


def test_a_key_in_the_users_file_is_not_sent_where_the_working_folder_says(
    home: Path, elsewhere: Path
) -> None:
    (home / ".config" / "wandb").mkdir(parents=True)
    (home / ".config" / "wandb" / "settings").write_text(f"[default]\napi_key = {KEY}\n")
    assert Settings.load(environ={}).credentials is None
    cloud = Settings.load(base_url="https://api.wandb.ai", environ={})
    assert key_of(cloud) == (KEY, "the settings file")
    folder_says(elsewhere, f"base_url = https://evil.test\napi_key = {OTHER_KEY}")
    assert key_of(Settings.load(environ={})) == (OTHER_KEY, "the settings file")
