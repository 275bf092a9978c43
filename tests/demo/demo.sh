#!/usr/bin/env bash
# `make demo`: starts a control plane and the operator, and shows what a user does with them: each command, its output, and
# what it means. Every `[ok]` is a check. All that it starts and makes goes when it ends, also when it is interrupted.
#
# ONCE=1 ends after the last step. CLUSTER=current uses the cluster of kubectl's current context.
# Client secrets are masked in the output.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

programs=${1:-target/debug} # the folder of the two programs
namespace=technical-user-system
folder=$(mktemp -d)
export KUBECACHEDIR=$folder/kubectl
operator='' control_plane='' client='' guard=''

# === what is printed ===

title() { printf '\n\e[1;32m== %s\e[0m\n' "$*"; }
say() { printf '\n   \e[36m-> %s\e[0m\n' "$*"; }
note() { printf '   %s\n' "$*"; }
ok() { printf '   \e[32m[ok]\e[0m %s\n' "$*"; }
fail() { printf '\n\e[1;31mThe demonstration failed:\e[0m %s\n' "$*" >&2; exit 1; }

# Cuts what nobody should read over a shoulder: client secrets, verifiers, tokens.
masked() {
  sed -E 's/(tus[0-9A-Za-z]{10})[0-9A-Za-z]{49}/\1***/g; s/(\$2b\$[0-9]+\$)[.\/0-9A-Za-z]{53}/\1***/g; s/(eyJ[-_0-9A-Za-z]{30})[-_.0-9A-Za-z]*/\1.../g'
}

# The command as one types it: words with other characters than these in quotes.
show() {
  local line='' word
  for word; do
    [[ $word =~ ^[-_./=:@,a-zA-Z0-9]+$ || $word == '$'* ]] || word="'$word'"
    line+=" $word"
  done
  printf '\n   \e[1m$%s\e[0m\n' "$line"
}

# Shows a command and its output.
run() {
  show "$@"
  "$@" 2>"$folder/errors" | masked | sed -e 's/^/   /' -e '$a\' || fail "$(masked <"$folder/errors")"
}

kubectl() { command kubectl --namespace=default "$@"; }
check() { local claim=$1; shift; "$@" || fail "this is not so: $claim"; ok "$claim"; }
refuses() { ! "$@"; }
wait_for() { run kubectl wait "--for=$1" "$2" --timeout=60s; }

# === the parts of a step ===

field() { kubectl get secret billing-credentials -o "go-template={{.data.$1 | base64decode}}"; }
show_secret() { run kubectl get secret billing-credentials -o 'go-template={{.data.client_secret | base64decode}}{{"\n"}}'; }
show_credentials() {
  run kubectl get tu billing -o 'jsonpath={range .status.credentials[*]}{.id}{"\t"}{.serial}{"\t"}{.state}{"\t"}{.expiresAt}{"\n"}{end}'
}
show_keys() {
  run kubectl get sk "$1" -o 'jsonpath={range .status.keys[*]}{.index}{"\t"}{.kid}{"\t"}{.state}{"\t"}{.activationTime}{"\t"}{.removalTime}{"\n"}{end}'
}
key() { kubectl get sk "$1" -o "jsonpath={.status.keys[?(@.state==\"$2\")].kid}"; }
jwks() { kubectl get configmap "$1" -n $namespace -o 'jsonpath={.data.jwks}'; }
has_keys() { (($(jwks "$1" | grep -o '"kid"' | wc -l) == $2)); }
has_key() { jwks "$1" | grep -q -- "\"$2\""; }
signs() { [[ -n $(key "$1" Active) ]]; }
# A request by annotation, as kubectl and GitOps can make it, and its answer in the status.
request() {
  local object=$1 annotation=$2 answer=$3 value=${4:-$(date +%s)}
  run kubectl annotate --overwrite "${object%/*}" "${object#*/}" "iam.cyoda.com/$annotation=$value"
  wait_for "jsonpath={.status.$answer}=$value" "$object"
}
# POSTs a form as the client; curl reads the credentials from a file, so that no list of processes shows them.
post() { curl -sS --config <(printf 'user = "%s:%s"\n' "$client_id" "$1") -d "$3" "$issuer/oauth2/$2"; }
member() { sed -nE "s/.*\"$1\":\"([^\"]*)\".*/\1/p"; }
token() { post "$1" token grant_type=client_credentials | member access_token; }
accepts() { [[ -n $(token "$1") ]]; }
# No other failure counts: a token service that does not answer refuses nothing.
rejects() { post "$1" token grant_type=client_credentials | grep -q '"error":"invalid_client"'; }
is_active() { post "$1" introspect "token=$2" | grep -q '"active":true'; }
decoded() { local text; text=$(tr -- '-_' '+/'); while ((${#text} % 4)); do text+='='; done; base64 -d <<<"$text"; }
hex() { decoded | od -An -v -tx1 | tr -d ' \n'; }

# === what runs ===

free_port() {
  local port
  while port=$((20000 + RANDOM % 10000)); (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
  echo "$port"
}

start_cluster() {
  if [[ ${CLUSTER:-local} == current ]]; then
    note "your cluster, context $(command kubectl config current-context)"
    local found
    found=$(kubectl get namespace $namespace --ignore-not-found -o name) || fail 'your cluster does not answer'
    found+=$(kubectl get crd technicalusers.iam.cyoda.com --ignore-not-found -o name)
    [[ -z $found ]] || fail "technical-user-operator is installed in this cluster: $found. This demonstration deletes what it makes, and leaves what others made."
    return
  fi
  (exec {life}>&-; exec "$programs/control-plane" <"$folder/life" >"$folder/kubeconfig-path" 2>"$folder/control-plane.log") &
  control_plane=$!
  until [[ -s $folder/kubeconfig-path ]]; do
    kill -0 $control_plane 2>/dev/null || fail "the control plane ended: $(cat "$folder/control-plane.log")"
    sleep 0.1
  done
  KUBECONFIG=$(cat "$folder/kubeconfig-path")
  export KUBECONFIG
  note 'etcd, kube-apiserver and kube-controller-manager: ready'
}

start_operator() {
  local port health
  port=$(free_port) health=$(free_port) metrics=$(free_port)
  issuer=http://127.0.0.1:$port
  # https://api.example.com is the audience of an example.
  (exec {life}>&-; exec "$programs/technical-user-operator" all-in-one --log-format=text --allow-insecure-issuer --issuer="$issuer" \
    --allowed-audiences=https://api.example.com --listen="127.0.0.1:$port" --health-listen="127.0.0.1:$health" \
    --metrics-listen="127.0.0.1:$metrics" >"$folder/operator.log" 2>&1) &
  operator=$!
  (exec {life}>&-; read -r _ <"$folder/life" || kill $operator) 2>/dev/null &
  guard=$!
  local attempts=0
  until curl -sf "http://127.0.0.1:$health/readyz" >"$folder/readyz"; do
    if ! kill -0 $operator 2>/dev/null || ((++attempts > 600)); then
      fail "the operator is not ready; the end of its log: $(tail -n 10 "$folder/operator.log")"
    fi
    sleep 0.1
  done
  note 'technical-user-operator all-in-one: ready'
}

# Deletes from the user's cluster, and says what could not be deleted.
remove() {
  command kubectl delete --ignore-not-found "$@" >/dev/null 2>"$folder/errors" && return
  grep -q "doesn't have a resource type" "$folder/errors" || note "not deleted: $* ($(cat "$folder/errors"))"
}

# Ends a process. After 15 seconds it is killed.
stop() {
  local attempts=0
  kill "$1" || true
  while kill -0 "$1" && ((++attempts < 150)); do sleep 0.1; done
  kill -KILL "$1" || true
  wait "$1" || true
} 2>/dev/null

# shellcheck disable=SC2317 # called by trap
end() {
  local status=$?
  set +e # what can be removed is removed
  trap - EXIT
  trap '' INT TERM HUP # a second Ctrl-C would leave objects in the cluster
  title 'Everything ends'
  [[ -z $client ]] || stop "$client"
  [[ -z $guard ]] || stop "$guard"
  if [[ ${CLUSTER:-local} == current && -n $operator ]]; then
    remove technicalusers.iam.cyoda.com --all --all-namespaces
    remove secrets --selector=iam.cyoda.com/managed --all-namespaces
    remove -f crds
  fi
  if [[ -n $operator ]]; then stop "$operator"; note 'the operator has ended'; fi
  if [[ -n $control_plane ]]; then
    stop "$control_plane"
    note 'the control plane and its data are gone'
  elif [[ -n $operator ]]; then
    remove namespace $namespace
    note 'what was made in your cluster is gone'
  fi
  rm -rf "$folder"
  exit $status
}

for program in kubectl curl openssl; do
  type -P $program >/dev/null || fail "$program is missing: install it and try again"
done
trap end EXIT
trap 'exit 130' INT TERM HUP
# This script alone has the pipe open for writing. When it ends, also by SIGKILL, what reads the pipe ends too.
mkfifo "$folder/life"
exec {life}<>"$folder/life"

title 'A cluster and the operator'
start_cluster
start_operator

# === the steps ===

title '1. A machine identity is a few lines of YAML'
run cat examples/technical-user.yaml
run kubectl apply -f examples/technical-user.yaml
wait_for condition=Ready tu/billing
run kubectl get tu billing
say '`Ready` means: the client secret in that Secret works.'
client_id=$(field client_id) first=$(field client_secret)

title '2. What the workload mounts'
run kubectl describe secret billing-credentials
say 'Each value has the names that OAuth libraries and the Service Binding specification use.'
show_secret
say '256 random bits between a public id and a checksum. This output is masked, the Secret is not.'

title '3. What the operator keeps'
record=verifier-$(printf %s "$client_id" | openssl dgst -sha256 -r | cut -d ' ' -f 1)
run kubectl get secret "$record" -n $namespace -o 'go-template={{index .data "record.json" | base64decode}}{{"\n"}}'
say 'A bcrypt verifier. It accepts the right client secret, and the client secret cannot be computed from it.'
check 'the token service accepts the client secret' accepts "$first"
check 'it refuses the client secret with one more character' rejects "${first}x"

title '4. Rotation without a gap'
request tu/billing rotate-requested-at lastHandledRotateAt
show_secret
show_credentials
say 'The previous client secret works until spec.rotation.overlap has passed, 24h by default.'
second=$(field client_secret)
check 'there is another client secret' test "$second" != "$first"
check 'the token service accepts it' accepts "$second"
check 'it accepts the previous one too' accepts "$first"

title '5. A user deletes the Secret'
run kubectl delete secret billing-credentials
wait_for 'jsonpath={.status.serial}=3' tu/billing
show_secret
say 'The operator cannot restore a client secret, because it does not keep one. So it issues another one.'
third=$(field client_secret)
check 'the token service accepts it' accepts "$third"
check 'it accepts the deleted one too, for processes that still have it' accepts "$second"

title '6. A client secret leaked'
request tu/billing revoke-requested-at lastHandledRevokeAt
wait_for condition=Ready tu/billing
show_credentials
say 'All client secrets ended at once. Then a new one was issued.'
for secret in "$first" "$second" "$third"; do
  check "the token service refuses ${secret:0:13}***" rejects "$secret"
done
secret=$(field client_secret)
check 'it accepts the new one' accepts "$secret"

title '7. A mistake is refused with a sentence'
patch='{"spec":{"rotation":{"period":"1h"}}}'
show kubectl patch tu billing --type=merge -p "$patch"
kubectl patch tu billing --type=merge -p "$patch" >"$folder/refusal" 2>&1 && fail 'the API server did not refuse it'
sed 's/^/   /' "$folder/refusal"
run kubectl explain tu.spec.rotation

title '8. The key that signs access tokens'
wait_for condition=Ready sk/default
run kubectl get sk
run kubectl get configmap default-jwks -n $namespace -o 'jsonpath={.data.jwks}{"\n"}'
say 'The operator created the SigningKey `default`. The ConfigMap has public keys alone, in the field that Envoy Gateway reads.'
old=$(key default Active)
check 'the key that signs is in the JWKS' has_key default-jwks "$old"
check 'no private key is' refuses grep -q '"d":' <(jwks default-jwks)

title '9. A new key is published for an hour before it signs'
request sk/default rotate-requested-at lastHandledRotateAt
wait_for condition=RotationInProgress sk/default
show_keys default
say 'Istio and Trino fetch the JWKS every 15 to 20 minutes. No verifier gets a token of a key that it does not know.'
check 'both keys are in the JWKS' has_keys default-jwks 2
check 'the previous key still signs' test "$(key default Active)" = "$old"

title '10. The next states of a key, without the hour'
run cat examples/signing-key-gateway.yaml
run kubectl apply -f examples/signing-key-gateway.yaml
wait_for condition=Ready sk/gateway
run kubectl patch sk gateway --type=merge -p '{"spec":{"rotation":{"acceptOutage":true,"prePublish":"0s"}}}'
request sk/gateway rotate-requested-at lastHandledRotateAt
wait_for 'jsonpath={.status.keys[?(@.index==1)].state}=Grace' sk/gateway
show_keys gateway
say 'The previous key signs no more. It stays in the JWKS until its last token has expired.'
check 'both keys are in the JWKS' has_keys token-jwks 2

title '11. A private key leaked'
leaked=$(key gateway Active)
request sk/gateway revoke-requested-at lastHandledRevokeAt "$leaked"
show_keys gateway
say 'The key left the JWKS at once. The previous key signs again, because every verifier knows it.'
check 'the leaked key is not in the JWKS' refuses has_key token-jwks "$leaked"
check 'another key signs' signs gateway

title '12. A client id and a client secret become an access token'
show curl -u '$CLIENT_ID:$CLIENT_SECRET' -d grant_type=client_credentials "$issuer/oauth2/token"
answer=$(post "$secret" token grant_type=client_credentials)
masked <<<"   $answer"
say 'A JWT for five minutes. The client secret goes to the token service and to no other service.'
token=$(member access_token <<<"$answer")
signed=${token%.*}
claims=$(cut -d . -f 2 <<<"$token" | decoded)
note "$claims"
say 'The client is in `sub`, its tenant in `caas_org_id` (the uid of the namespace), its roles in `user_roles`.'
check 'the token names the client' test "$(member client_id <<<"$claims")" = "$client_id"
note "$(post wrong token grant_type=client_credentials)"
check 'a wrong client secret gets no token' rejects wrong

title '13. A verifier needs the JWKS and nothing else'
run curl -s "$issuer/.well-known/openid-configuration"
kid=$(cut -d . -f 1 <<<"$token" | decoded | member kid)
jwk=$(curl -s "$issuer/.well-known/jwks.json" | grep -o "{[^}]*\"$kid\"[^}]*}")
cat >"$folder/key.conf" <<CONF
asn1=SEQUENCE:spki
[spki]
algorithm=SEQUENCE:algorithm
key=BITWRAP,SEQUENCE:key
[algorithm]
oid=OID:rsaEncryption
parameters=NULL
[key]
n=INTEGER:0x$(member n <<<"$jwk" | hex)
e=INTEGER:0x$(member e <<<"$jwk" | hex)
CONF
openssl asn1parse -genconf "$folder/key.conf" -noout -out "$folder/key.der"
printf %s "$signed" >"$folder/signed"
decoded <<<"${token##*.}" >"$folder/signature"
show openssl dgst -sha256 -verify key.der -keyform DER -signature signature signed
(cd "$folder" && openssl dgst -sha256 -verify key.der -keyform DER -signature signature signed) >"$folder/verdict" 2>&1 || true
note "$(cat "$folder/verdict")"
say 'The key is from the JWKS, and OpenSSL verified the token.'
check 'OpenSSL verifies the token' grep -qx 'Verified OK' "$folder/verdict"
check 'introspection says that the token is active' is_active "$secret" "$token"

title '14. A client that never stops, while its client secret and its key rotate'
run kubectl patch tu billing --type=merge -p '{"spec":{"signingKeyRef":{"name":"gateway"}}}'
(
  exec {life}>&-
  while kill -0 $$ 2>/dev/null; do
    secret=$(field client_secret) || continue
    token=$(token "$secret")
    is_active "$secret" "$token" && echo active || echo refused
    echo "$(cut -d . -f 1 <<<"$token" | decoded | member kid)" >>"$folder/kids"
  done
) >"$folder/load" 2>"$folder/load.err" &
client=$!
reaches() {
  local started=$SECONDS
  until (($(wc -l <"$folder/load") >= $1)); do
    kill -0 $client 2>/dev/null || fail "the client ended: $(masked <"$folder/load.err")"
    ((SECONDS - started < 60)) || fail 'the client gets no more tokens'
    sleep 0.2
  done
}
old=$(key gateway Active)
reaches 10
request tu/billing rotate-requested-at lastHandledRotateAt
request sk/gateway rotate-requested-at lastHandledRotateAt
started=$SECONDS
until new=$(key gateway Active) && [[ -n $new && $new != "$old" ]] && grep -q -- "$new" "$folder/kids"; do
  ((SECONDS - started < 60)) || fail 'no new key signs'
  sleep 0.2
done
reaches $(($(wc -l <"$folder/load") + 10))
stop $client
client=''
note "$(wc -l <"$folder/load") tokens, $(grep -c refused "$folder/load" || true) refused, $(sort -u "$folder/kids" | wc -l) keys"
say 'The previous client secret works for the overlap. The previous key verifies until its last token has expired.'
check 'every request got a token, and each token was active' refuses grep -q refused "$folder/load"

title '15. What kubectl shows'
run kubectl apply -f examples
run kubectl wait --for=condition=Ready tu --all --timeout=60s
run kubectl wait --for=condition=Ready sk --all --timeout=60s
run kubectl get tu -o wide
run kubectl get iam
selector=involvedObject.kind=TechnicalUser,involvedObject.name=billing
run kubectl get events --field-selector=$selector
for reason in CredentialIssued CredentialRotated CredentialsRevoked; do
  check "there is an Event $reason" grep -q "$reason" <(kubectl get events --field-selector=$selector)
done

[[ ${ONCE:-} != 1 ]] || exit 0
title 'Your turn: all of it stays until Ctrl-C'
cat <<TEXT

   In another terminal, in this folder:

     ${KUBECONFIG:+export KUBECONFIG=$KUBECONFIG}
     kubectl get tu -n default --watch
     kubectl annotate -n default --overwrite tu billing iam.cyoda.com/rotate-requested-at="\$(date +%s)"
     kubectl annotate -n default --overwrite tu billing iam.cyoda.com/revoke-requested-at="\$(date +%s)"
     kubectl delete secret -n default shop-oauth
     kubectl edit tu -n default shop
     kubectl delete tu -n default partner
     kubectl get secrets --namespace $namespace

   The log of the operator: $folder/operator.log
   Its metrics: curl http://127.0.0.1:$metrics/metrics
TEXT
trap 'exit 0' INT TERM HUP
wait $operator || fail "the operator ended; the end of its log: $(tail -n 10 "$folder/operator.log")"
