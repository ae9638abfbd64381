<?php
#
# PNP4Nagios template of check_lync_presence: latency with its thresholds, the activities, the certificate, and red
# where the round trip failed. Goes to share/templates/, and check_lync_presence.cfg to etc/check_commands/.
#
# A run that fails does not measure everything, and PNP tells a template only what the last run measured. What has been
# measured before lies beside it, one file a label; it is drawn too.
#
# Closures, not functions: PNP loads a template once for every service of a page.
#

$known = array('latency', 'register', 'self_subscribe', 'subscribe', 'publish', 'notify', 'unregister', 'success',
    'certificate_days', 'front_ends_failed');

$file = array();   # label => RRD
$source = array(); # label => name of the data source in it
$rules = array();  # label => its thresholds; PNP has both ends of a range apart
foreach ($NAME as $i => $label) {
    $file[$label] = $RRDFILE[$i];
    $source[$label] = $DS[$i];
    $rules[$label] = '';
    foreach (array('WARN' => 'warning#d97706', 'CRIT' => 'critical#b91c1c') as $tag => $look) {
        list($name, $color) = explode('#', $look);
        foreach (array($tag, $tag . '_MIN', $tag . '_MAX') as $end) {
            if (isset(${$end}[$i]) && is_numeric(${$end}[$i])) {
                $rules[$label] .= "HRULE:{${$end}[$i]}#$color:\"$label $name {${$end}[$i]}\\n\":dashes=6,4 ";
            }
        }
    }
}
$limits = function ($label) use ($rules) {
    return isset($rules[$label]) ? $rules[$label] : '';
};
$ending = '_' . $NAME[1] . '.rrd';
if (substr($RRDFILE[1], -strlen($ending)) === $ending) {
    $stem = substr($RRDFILE[1], 0, -strlen($ending));
    foreach ($known as $label) {
        if (!isset($file[$label]) && is_readable($stem . '_' . $label . '.rrd')) {
            $file[$label] = $stem . '_' . $label . '.rrd';
            $source[$label] = '1';
        }
    }
}

# The data of a label, as $name; $how is AVERAGE, MAX or MIN.
$read = function ($label, $how, $name) use ($file, $source) {
    return "DEF:$name={$file[$label]}:{$source[$label]}:$how ";
};

# A line of the legend: last, average and greatest value.
$legend = function ($name, $unit) {
    return "GPRINT:$name:LAST:\"last %7.3lf $unit\" "
        . "GPRINT:$name:AVERAGE:\"average %7.3lf $unit\" "
        . "GPRINT:$name:MAX:\"max %7.3lf $unit\\n\" ";
};

# Red from bottom to top where the round trip failed.
$failures = function () use ($file, $read) {
    return !isset($file['success']) ? '' : $read('success', 'MIN', 'success')
        . 'CDEF:failed=success,1,LT,INF,UNKN,IF AREA:failed#e5484d66:"failed\n" ';
};

$graph = 0;
$scale = '--lower-limit 0 --units-exponent 0'; # 0.2, not 200 m
$seconds = "--vertical-label seconds --left-axis-format %.2lf $scale";

if (isset($file['latency']) || isset($file['success'])) {
    $graph++;
    $ds_name[$graph] = 'Latency';
    $opt[$graph] = "--title \"Lync presence: $servicedesc on $hostname\" $seconds ";
    $def[$graph] = $failures();
    if (isset($file['latency'])) {
        # A failed run has no latency: rrdtool would draw a line from the one before to the one after.
        $def[$graph] .= $read('latency', 'MAX', 'seconds')
            . 'CDEF:latency=' . (isset($file['success']) ? 'success,1,LT,UNKN,seconds,IF ' : 'seconds ')
            . 'AREA:latency#2563eb33 LINE1.5:latency#2563eb:"latency          " ' . $legend('latency', 's')
            . $limits('latency');
    }
}

$activities = array('register' => '#7c3aed', 'self_subscribe' => '#0891b2', 'subscribe' => '#16a34a',
    'publish' => '#ca8a04', 'notify' => '#db2777', 'unregister' => '#6b7280');
$lines = '';
foreach ($activities as $label => $color) {
    if (isset($file[$label])) {
        $lines .= $read($label, 'MAX', $label) . "LINE1.5:$label$color:\"" . str_pad($label, 17) . '" '
            . $legend($label, 's') . $limits($label);
    }
}
if ($lines !== '') {
    $graph++;
    $ds_name[$graph] = 'Activities';
    $opt[$graph] = "--title \"Lync presence, activities: $servicedesc on $hostname\" $seconds ";
    $def[$graph] = $failures() . $lines;
}

if (isset($file['certificate_days'])) {
    $graph++;
    $ds_name[$graph] = 'Certificate';
    $opt[$graph] = "--title \"Lync presence, certificate: $servicedesc on $hostname\" --vertical-label days $scale ";
    $def[$graph] = $read('certificate_days', 'MIN', 'days')
        . 'AREA:days#16a34a33 LINE1.5:days#16a34a:"days left" GPRINT:days:LAST:"%5.0lf\n" '
        . $limits('certificate_days');
}

# --all-front-ends: one line for each front end.
$palette = array('#2563eb', '#db2777', '#16a34a', '#ca8a04', '#7c3aed', '#0891b2', '#ea580c', '#6b7280');
$lines = '';
$count = 0;
foreach ($NAME as $label) {
    if (strpos($label, 'latency_') === 0) {
        $name = 'front_end' . $count;
        $lines .= $read($label, 'MAX', $name) . "LINE1.5:$name{$palette[$count % 8]}:\""
            . str_pad(str_replace('_', '.', substr($label, 8)), 17) . '" ' . $legend($name, 's');
        $count++;
    }
}
if ($count > 0) {
    $graph++;
    $ds_name[$graph] = 'Front ends';
    $opt[$graph] = "--title \"Lync presence, front ends: $servicedesc on $hostname\" $seconds ";
    $def[$graph] = $failures() . $lines;
}
