"""What of the host's package configuration comes into sandboxes, and what must not."""

from podflare_nb.provisioning.jail import accounts, apt_sources, package_files

SECRET = "s3cret"


def host_apt(directory):
    (directory / "sources.list.d").mkdir(parents=True)
    (directory / "sources.list").write_text(
        f"# deb http://old.test/debian old main # {SECRET}\n"
        f"deb [signed-by=/usr/share/keyrings/a.gpg] https://user:{SECRET}@deb.test/debian stable main  # {SECRET}\n"
        "deb file:/srv/local ./\ndeb cdrom:[Disc]/ stable main\n"
    )
    (directory / "sources.list.d/two.sources").write_text(
        f"Types: deb\n# {SECRET}\nURIs: https://user:{SECRET}@two.test/x file:/srv/y\n http://three.test/z\n"
        "Suites: a\nComponents: main\n"
        "\nTypes: deb\nURIs: file:/srv/only\nSuites: b\nComponents: main\n"
        "\nEnabled: no\nTypes: deb\nURIs: http://off.test/x\nSuites: c\nComponents: main\n"
    )
    (directory / "sources.list.d/three.disabled").write_text(f"deb http://user:{SECRET}@no.test/ a main\n")
    (directory / "auth.conf.d").mkdir()
    (directory / "auth.conf.d/x.conf").write_text(f"machine deb.test login user password {SECRET}\n")
    (directory / "keyrings").mkdir()
    (directory / "keyrings/a.gpg").write_bytes(b"a public key")
    (directory / "keyrings/password").write_text(SECRET)
    return directory


def test_the_host_s_sources_come_in_over_http_and_without_credentials_or_comments(tmp_path):
    shown = apt_sources.inside(host_apt(tmp_path / "apt"))
    assert shown == {
        "sources.list": "deb [signed-by=/usr/share/keyrings/a.gpg] http://deb.test/debian stable main\n",
        "sources.list.d/two.sources": (
            "Types: deb\nURIs: http://two.test/x http://three.test/z\nSuites: a\nComponents: main\n"
        ),
    }


def test_the_mirror_reads_where_they_are_with_credentials(tmp_path):
    assert list(apt_sources.addresses(host_apt(tmp_path / "apt"))) == [
        f"https://user:{SECRET}@deb.test/debian", f"https://user:{SECRET}@two.test/x", "http://three.test/z",
    ]  # fmt: skip


def test_nothing_secret_of_the_host_is_written(tmp_path):
    etc = tmp_path / "etc"
    package_files.write(etc, host_apt(tmp_path / "apt"))
    written = {path.relative_to(etc).as_posix(): path.read_bytes() for path in etc.rglob("*") if path.is_file()}
    assert not any(SECRET.encode() in content for content in written.values())
    assert written["apt/keyrings/a.gpg"] == b"a public key"
    proxies = written["apt/apt.conf.d/90podflare-nb"].decode()
    assert 'Acquire::http::Proxy::deb.test "http://127.0.0.53:61141";' in proxies
    assert 'Acquire::http::Proxy "http://127.0.0.53:61128";' in proxies


def test_names_that_dpkg_needs_are_there_and_the_host_s_people_are_not(tmp_path):
    (tmp_path / "passwd").write_text(
        "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\nsvc:x:104:110::/:/bin/sh\n"
    )
    (tmp_path / "group").write_text("alice:x:1000:\nssl-cert:x:112:alice\nmessagebus:x:105:\n")
    overrides = tmp_path / "statoverride"
    overrides.write_text("root ssl-cert 710 /etc/ssl/private\nsvc #33 755 /x\n")
    users, groups = accounts.passwd(tmp_path, overrides), accounts.group(tmp_path, overrides)
    assert users.endswith("svc:x:104:110::/nonexistent:/usr/sbin/nologin\n")
    assert groups.endswith("ssl-cert:x:112:\n")
    assert "alice" not in users + groups
    assert "messagebus" not in groups
