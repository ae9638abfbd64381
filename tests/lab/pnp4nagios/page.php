<?php
# What PNP4Nagios does with a template: gives it what the last run said, once for every service of a page, and takes
# its graphs. Standard input and output are JSON.

$page = function ($template, $hostname, $servicedesc, $datasources) {
    foreach ($datasources as $index => $datasource) {
        foreach ($datasource as $tag => $value) {
            ${$tag}[$index + 1] = $value;
        }
    }
    ob_start();
    include $template;
    $printed = ob_get_clean();
    return array('opt' => $opt, 'def' => $def, 'ds_name' => $ds_name, 'printed' => $printed);
};
set_error_handler(function ($level, $message, $file, $line) {
    throw new ErrorException($message, 0, $level, $file, $line);
});
$given = json_decode(stream_get_contents(STDIN), true);
$pages = array();
foreach ($given['services'] as $service) {
    $pages[] = $page($given['template'], $service['hostname'], $service['servicedesc'], $service['datasources']);
}
echo json_encode($pages);
