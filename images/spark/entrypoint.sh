#!/bin/sh
# What Spark on Kubernetes starts in a pod of this image: "driver" with the arguments of
# spark-submit, "executor" with everything in variables (Spark's documentation, "Running Spark on
# Kubernetes", and KubernetesClientUtils); any other command is run as it is.
set -eu

# Java's own options come one to a variable: SPARK_JAVA_OPT_0, SPARK_JAVA_OPT_1, …
with_java_options() {
  number=0
  while name=SPARK_JAVA_OPT_$number && [ -n "$(printenv "$name")" ]; do
    set -- "$@" "$(printenv "$name")"
    number=$((number + 1))
  done
  run "$@"
}

run() {
  exec tini -s -- java "$@" \
    "-Xms$SPARK_EXECUTOR_MEMORY" "-Xmx$SPARK_EXECUTOR_MEMORY" \
    -cp "${SPARK_CLASSPATH:-}:$SPARK_HOME/jars/*" \
    org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend \
    --driver-url "$SPARK_DRIVER_URL" \
    --executor-id "$SPARK_EXECUTOR_ID" \
    --cores "$SPARK_EXECUTOR_CORES" \
    --app-id "$SPARK_APPLICATION_ID" \
    --hostname "$SPARK_EXECUTOR_POD_IP" \
    --resourceProfileId "$SPARK_RESOURCE_PROFILE_ID" \
    --podName "$SPARK_EXECUTOR_POD_NAME"
}

SPARK_HOME=$(python -c 'import pyspark, pathlib; print(pathlib.Path(pyspark.__file__).parent)')
export SPARK_HOME

case "${1:-}" in
  driver)
    shift
    exec tini -s -- "$SPARK_HOME/bin/spark-submit" \
      --conf "spark.driver.bindAddress=$SPARK_DRIVER_BIND_ADDRESS" \
      --conf "spark.executorEnv.SPARK_DRIVER_POD_IP=$SPARK_DRIVER_BIND_ADDRESS" \
      --deploy-mode client "$@"
    ;;
  executor) with_java_options ;;
  *) exec tini -s -- "$@" ;;
esac
