BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0eee8c825d24');
CREATE TABLE api_tokens (
	user_id INTEGER, 
	service_id INTEGER, 
	id INTEGER NOT NULL, 
	hashed VARCHAR(255), 
	prefix VARCHAR(16), 
	client_id VARCHAR(255), 
	session_id VARCHAR(255), 
	created DATETIME, 
	expires_at DATETIME, 
	last_activity DATETIME, 
	note VARCHAR(1023), 
	scopes TEXT, 
	CONSTRAINT pk_api_tokens PRIMARY KEY (id), 
	CONSTRAINT fk_api_tokens_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_api_tokens_service_id_services FOREIGN KEY(service_id) REFERENCES services (id) ON DELETE CASCADE, 
	CONSTRAINT uq_api_tokens_hashed UNIQUE (hashed), 
	CONSTRAINT fk_api_tokens_client_id_oauth_clients FOREIGN KEY(client_id) REFERENCES oauth_clients (identifier) ON DELETE CASCADE
);
INSERT INTO "api_tokens" VALUES(NULL,1,1,'sha512:16384:7850033f320e77ac:a7ccc1e035889d9ac77bd46bbcac588e37f1c6899049907604425a5565a7174d3b8434e24dd2fbd291313b396e5735b2c55781377af6dcf6bbd007b770ff974c','the-','jupyterhub',NULL,'2026-11-20 12:46:05.667543',NULL,'2026-11-20 12:46:05.816058','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(NULL,2,2,'sha512:16384:63f1dbaca915b8cf:fb760c936344779883147bfeec59c3aa2c493e0cd1e3f99313f26536e5b08859a0325b8aae1e3730ae46a8d91381ac1565e4af4af9e0fadc1eb717e06e274847','the-','jupyterhub',NULL,'2026-11-20 12:46:05.695087',NULL,NULL,'from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(2,NULL,3,'sha512:16384:44f468df375e2da7:548c14d4c12c07eb3f33190f1423a8930442d17a274b12882b3bff753f6d03c547d09e31052429f6ff2fb1838fccf8730efa98fa52d6ffbda3a31c1dd3bbcf10','the-','jupyterhub',NULL,'2026-11-20 12:46:05.724921',NULL,NULL,'from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(2,NULL,4,'sha512:1:15b0882834f30c50:70825441e71edb6366850233bfc26e18f251b385567d6df20583d4501f8db8dc217e48ed1b570e7c5da679b525042fe6fe71e0568f45b7aa479f3e7903e2ba15','4738','jupyterhub',NULL,'2026-11-20 12:46:06.134865',NULL,NULL,'Server at /user/ada/','["access:servers!server=ada/", "users:activity!user"]');
INSERT INTO "api_tokens" VALUES(3,NULL,5,'sha512:1:7622d8af387fb8df:cdf5656bb1aeb448422204f03cd224946bd56d72650ac9da989417a57367768d100ffe9b700c43ad7ff33f2bef15f4a23b4ffa37c287f25009e69db0bdfad9fc','8f83','jupyterhub',NULL,'2026-11-20 12:46:06.472377',NULL,NULL,'Server at /user/grace/gpu/','["access:servers!server=grace/gpu", "users:activity!user"]');
INSERT INTO "api_tokens" VALUES(2,NULL,6,'sha512:1:9ea9e2fe4c4db40a:026cc98ddba4cf7d17faee95b39bdbeeb9b439d417d4c416778c86e8806760a4b3735a46bf6d126b0ff01109642084b1ce0c81f4b7a0f0bbaf119e33ce5e8524','6047','jupyterhub',NULL,'2026-11-20 12:46:07.226805',NULL,NULL,'a script','["read:users:name!user"]');
INSERT INTO "api_tokens" VALUES(2,NULL,7,'sha512:1:9f27842fc09a7a40:197695ed3b5e1770a52f5de78b220cf1da84214c265e67d2a4340f2763bafa600040083ebc5903eb7100fbec2716d196b971666fb4a5fc6720d216a25027640e','4b58','jupyterhub',NULL,'2026-11-20 12:46:07.257619','2026-11-20 12:46:08.252907',NULL,'over','["inherit"]');
CREATE TABLE group_role_map (
	group_id INTEGER NOT NULL, 
	role_id INTEGER NOT NULL, 
	CONSTRAINT pk_group_role_map PRIMARY KEY (group_id, role_id), 
	CONSTRAINT fk_group_role_map_group_id_groups FOREIGN KEY(group_id) REFERENCES groups (id) ON DELETE CASCADE, 
	CONSTRAINT fk_group_role_map_role_id_roles FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE CASCADE
);
INSERT INTO "group_role_map" VALUES(1,5);
CREATE TABLE groups (
	id INTEGER NOT NULL, 
	name VARCHAR(255), 
	properties TEXT, 
	CONSTRAINT pk_groups PRIMARY KEY (id), 
	CONSTRAINT uq_groups_name UNIQUE (name)
);
INSERT INTO "groups" VALUES(1,'physics','{"quota": 3}');
INSERT INTO "groups" VALUES(2,'empty','{}');
CREATE TABLE oauth_clients (
	id INTEGER NOT NULL, 
	identifier VARCHAR(255), 
	description VARCHAR(1023), 
	secret VARCHAR(255), 
	redirect_uri VARCHAR(1023), 
	allowed_scopes TEXT, 
	CONSTRAINT pk_oauth_clients PRIMARY KEY (id), 
	CONSTRAINT uq_oauth_clients_identifier UNIQUE (identifier)
);
INSERT INTO "oauth_clients" VALUES(1,'jupyterhub','JupyterHub','','','[]');
INSERT INTO "oauth_clients" VALUES(2,'service-wiki','JupyterHub service wiki','sha512:16384:96e6dc0ae7f0f6cd:03fbc4ea4da1708a9a2ab812e4911c351a9a30ccfa1169dc822544dcf277fc59739de70a93fc6c87bcf7475226c9b39515bba0fd3daac5a8719ee14afaf99805','http://127.0.0.1:9/callback','["access:services!service=wiki"]');
INSERT INTO "oauth_clients" VALUES(3,'jupyterhub-user-ada','Server at /user/ada/','sha512:16384:24ca4ebaaa42c6e9:c4a3644c8b2820f9c06c464994b49689ee99e851f3da66c5b15e79dc48917c6d5547d4466d474f0284549058a58bef28db3802a41f153a34a8f67c4da795d196','/user/ada/oauth_callback','["access:servers!server=ada/"]');
INSERT INTO "oauth_clients" VALUES(4,'jupyterhub-user-grace-gpu','Server at /user/grace/gpu/','sha512:16384:0bb2138471b956c9:80270380c753c2233ec414c846ed9e5c21ce5b4a9468b924d93023e257d006cf2a53dede4520325769217da388708409744014485d4cd9f42c907c07893af0d8','/user/grace/gpu/oauth_callback','["access:servers!server=grace/gpu"]');
CREATE TABLE oauth_codes (
	id INTEGER NOT NULL, 
	client_id VARCHAR(255), 
	code VARCHAR(36), 
	expires_at INTEGER, 
	redirect_uri VARCHAR(1023), 
	session_id VARCHAR(255), 
	user_id INTEGER, 
	scopes TEXT, 
	CONSTRAINT pk_oauth_codes PRIMARY KEY (id), 
	CONSTRAINT fk_oauth_codes_client_id_oauth_clients FOREIGN KEY(client_id) REFERENCES oauth_clients (identifier) ON DELETE CASCADE, 
	CONSTRAINT fk_oauth_codes_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE TABLE roles (
	id INTEGER NOT NULL, 
	name VARCHAR(255), 
	description VARCHAR(1023), 
	scopes TEXT, 
	CONSTRAINT pk_roles PRIMARY KEY (id), 
	CONSTRAINT uq_roles_name UNIQUE (name)
);
INSERT INTO "roles" VALUES(1,'server','Post activity only','["users:activity!user", "access:servers!server"]');
INSERT INTO "roles" VALUES(2,'token','Token with same permissions as its owner','["inherit"]');
INSERT INTO "roles" VALUES(3,'admin','Elevated privileges (can do anything)','["admin-ui", "admin:users", "admin:servers", "tokens", "admin:groups", "list:services", "read:services", "read:hub", "proxy", "shutdown", "access:services", "access:servers", "read:roles", "read:metrics"]');
INSERT INTO "roles" VALUES(4,'user','Standard user privileges','["self"]');
INSERT INTO "roles" VALUES(5,'readers','See names','["list:users", "read:users:name"]');
CREATE TABLE servers (
	id INTEGER NOT NULL, 
	proto VARCHAR(15), 
	ip VARCHAR(255), 
	port INTEGER, 
	base_url VARCHAR(255), 
	cookie_name VARCHAR(255), 
	CONSTRAINT pk_servers PRIMARY KEY (id)
);
INSERT INTO "servers" VALUES(1,'http','127.0.0.1',53441,'/user/ada/','cookie');
INSERT INTO "servers" VALUES(2,'http','127.0.0.1',45165,'/user/grace/gpu/','cookie');
CREATE TABLE service_role_map (
	service_id INTEGER NOT NULL, 
	role_id INTEGER NOT NULL, 
	CONSTRAINT pk_service_role_map PRIMARY KEY (service_id, role_id), 
	CONSTRAINT fk_service_role_map_service_id_services FOREIGN KEY(service_id) REFERENCES services (id) ON DELETE CASCADE, 
	CONSTRAINT fk_service_role_map_role_id_roles FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE CASCADE
);
INSERT INTO "service_role_map" VALUES(1,3);
INSERT INTO "service_role_map" VALUES(2,5);
CREATE TABLE services (
	id INTEGER NOT NULL, 
	name VARCHAR(255), 
	admin BOOLEAN, 
	_server_id INTEGER, 
	pid INTEGER, 
	oauth_client_id VARCHAR(255), 
	CONSTRAINT pk_services PRIMARY KEY (id), 
	CONSTRAINT uq_services_name UNIQUE (name), 
	CONSTRAINT fk_services__server_id_servers FOREIGN KEY(_server_id) REFERENCES servers (id) ON DELETE SET NULL, 
	CONSTRAINT fk_services_oauth_client_id_oauth_clients FOREIGN KEY(oauth_client_id) REFERENCES oauth_clients (identifier) ON DELETE SET NULL
);
INSERT INTO "services" VALUES(1,'setup',1,NULL,NULL,NULL);
INSERT INTO "services" VALUES(2,'wiki',0,NULL,NULL,'service-wiki');
CREATE TABLE spawners (
	id INTEGER NOT NULL, 
	user_id INTEGER, 
	server_id INTEGER, 
	state TEXT, 
	name VARCHAR(255), 
	started DATETIME, 
	last_activity DATETIME, 
	user_options TEXT, 
	oauth_client_id VARCHAR(255), 
	CONSTRAINT pk_spawners PRIMARY KEY (id), 
	CONSTRAINT fk_spawners_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_spawners_server_id_servers FOREIGN KEY(server_id) REFERENCES servers (id) ON DELETE SET NULL, 
	CONSTRAINT fk_spawners_oauth_client_id_oauth_clients FOREIGN KEY(oauth_client_id) REFERENCES oauth_clients (identifier) ON DELETE SET NULL
);
INSERT INTO "spawners" VALUES(1,2,1,'{"pid": 652}','','2026-11-20 12:46:06.198162','2026-11-20 12:46:06.198162','{"profile": "large"}','jupyterhub-user-ada');
INSERT INTO "spawners" VALUES(2,3,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(3,1,NULL,'{}','',NULL,'2026-11-20 12:46:07.121207','{}',NULL);
INSERT INTO "spawners" VALUES(4,4,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(5,3,2,'{"pid": 658}','gpu','2026-11-20 12:46:06.536865','2026-11-20 12:46:06.536865','{}','jupyterhub-user-grace-gpu');
CREATE TABLE user_group_map (
	user_id INTEGER NOT NULL, 
	group_id INTEGER NOT NULL, 
	CONSTRAINT pk_user_group_map PRIMARY KEY (user_id, group_id), 
	CONSTRAINT fk_user_group_map_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_user_group_map_group_id_groups FOREIGN KEY(group_id) REFERENCES groups (id) ON DELETE CASCADE
);
INSERT INTO "user_group_map" VALUES(2,1);
INSERT INTO "user_group_map" VALUES(3,1);
CREATE TABLE user_role_map (
	user_id INTEGER NOT NULL, 
	role_id INTEGER NOT NULL, 
	CONSTRAINT pk_user_role_map PRIMARY KEY (user_id, role_id), 
	CONSTRAINT fk_user_role_map_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_user_role_map_role_id_roles FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE CASCADE
);
INSERT INTO "user_role_map" VALUES(1,3);
INSERT INTO "user_role_map" VALUES(1,4);
INSERT INTO "user_role_map" VALUES(2,4);
INSERT INTO "user_role_map" VALUES(3,4);
INSERT INTO "user_role_map" VALUES(2,5);
INSERT INTO "user_role_map" VALUES(4,4);
CREATE TABLE users (
	id INTEGER NOT NULL, 
	name VARCHAR(255), 
	admin BOOLEAN, 
	created DATETIME, 
	last_activity DATETIME, 
	cookie_id VARCHAR(255) NOT NULL, 
	state TEXT, 
	encrypted_auth_state BLOB, 
	CONSTRAINT pk_users PRIMARY KEY (id), 
	CONSTRAINT uq_users_name UNIQUE (name), 
	CONSTRAINT uq_users_cookie_id UNIQUE (cookie_id)
);
INSERT INTO "users" VALUES(1,'boss',1,'2026-11-20 12:46:05.425704','2026-11-20 12:46:07.121207','ff091b0942ee453abfa20e689963ddc2','{}',NULL);
INSERT INTO "users" VALUES(2,'ada',0,'2026-11-20 12:46:05.486463','2026-11-20 12:46:06.198162','ab9973c75ed044218ec794a7894ba96e','{}',X'67414141414142724145455034746E616A687A64416E516438575071676565647938484C6D65384643744A4D6F754B53555F734754662D4461667446337065687A5232352D4A314238585330654633314F5572684475377062423959765952794E6A4876575A475863696D4F6D58614A4A355F77524B343D');
INSERT INTO "users" VALUES(3,'grace',0,'2026-11-20 12:46:05.518133','2026-11-20 12:46:06.536865','7cbedd4e15964da495486fce1128371a','{}',NULL);
INSERT INTO "users" VALUES(4,'idle@example.org',0,'2026-11-20 12:46:05.992673',NULL,'c1b2540734db4ee9a1714e5d7be998b6',NULL,NULL);
CREATE INDEX ix_api_tokens_prefix ON api_tokens (prefix);
COMMIT;
